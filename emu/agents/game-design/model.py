"""The model's part in a recording: a game in three versions, of which the last can be won."""

import re

PAGE = """<!doctype html>
<html><head><title>Catch</title><style>
body { background: #123; color: #fff; font-family: sans-serif; text-align: center; }
canvas { background: linear-gradient(#024, #68a); border-radius: 8px; }
</style></head><body><h1>Catch</h1><canvas width="600" height="400"></canvas><p id="score"></p><script>
const canvas = document.querySelector('canvas'), context = canvas.getContext('2d');
const columns = 10, rows = 6, goal = GOAL;
let paddle = 5, column = 2, row = 0, caught = 0, fallen = 0, error = null;
function draw() {
  context.clearRect(0, 0, 600, 400);
  context.fillStyle = '#fd6';
  context.fillRect(column * 60, row * 60, 56, 56);
  context.fillStyle = '#f66';
  context.fillRect(paddle * 60, 370, 56, 20);
  document.querySelector('#score').textContent = 'Caught ' + caught + ' of ' + fallen;
}
function step() {
  row += 1;
  if (row < rows) return;
  fallen += 1;
  if (column === paddle) caught += 1;
  row = 0;
  column = (column * 3 + 4) % columns;
}
document.addEventListener('keydown', event => {
  try {
    KEYS
    step();
  } catch (problem) { error = String(problem); }
  draw();
});
window.game = {
  hint: () => paddle < column ? 'ArrowRight' : paddle > column ? 'ArrowLeft' : 'ArrowUp',
  state: () => ({ score: caught, over: WON, error }),
};
draw();
</script></body></html>
"""
MOVE = (
    "if (event.key === 'ArrowRight') paddle = Math.min(paddle + 1, columns - 1);\n"
    "    if (event.key === 'ArrowLeft') paddle = Math.max(paddle - 1, 0);"
)
VERSIONS = [
    ("paddel += event.key === 'ArrowRight' ? 1 : -1;", "false"),
    (MOVE, "false"),
    (MOVE, "caught >= goal"),
]


def reply(messages):
    asked = [message["content"] for message in messages if message["role"] == "user"]
    goal = re.search(r"(\d+) caught blocks", asked[0]).group(1)
    keys, won = VERSIONS[min(len(asked) - 1, len(VERSIONS) - 1)]
    return PAGE.replace("GOAL", goal).replace("KEYS", keys).replace("WON", won)
