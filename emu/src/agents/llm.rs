//! The mock model: a server on loopback that answers as OpenAI's chat completions do, from recordings.
//!
//! `POST /v1/chat/completions` takes `model` (the agent's name), `seed` (which recording), `messages`, `stream` and
//! `user` (who asks, for the log). The turn is the number of the model's own messages so far, so the server keeps
//! nothing between requests, and one that was killed goes on where it was once it is started again. Answers arrive
//! at the pace of [`super::pace`], streamed or at once.
//!
//! A request that is not in the recording gets status 409 and says where it left it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use traces::generate::agents::TokenTrace;

use super::http::{Answer, Handler, Request, Server};
use super::pace::{Pace, Paces, Rates};
use super::recording::{Message, Recording, Turn};
use super::{Error, Manifest};

/// Parts in which an answer is streamed: a part per token would only measure the loopback interface.
const PARTS: usize = 16;

/// One request, as the server saw it.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// Who asked.
    pub user: String,
    /// Which agent's recording.
    pub agent: String,
    /// Which of them.
    pub seed: u64,
    /// The how manieth request of the conversation, from 0.
    pub turn: u64,
    /// Sizes, as drawn from the trace.
    #[serde(flatten)]
    pub pace: Pace,
    /// Whether it was streamed.
    pub stream: bool,
    /// From the request to the first byte of the answer, ms.
    pub first_ms: f64,
    /// From the request to the end of the answer, ms.
    pub total_ms: f64,
    /// `answered`, `off the recording`, or `broken` where the connection ended before the answer did.
    pub outcome: &'static str,
}

/// The server. Dropped, it is stopped; [`Self::stop`] is as sudden as a kill.
#[derive(Debug)]
pub struct Llm {
    model: Arc<Model>,
    server: Server,
}

#[derive(Debug)]
struct Model {
    paces: Paces,
    agents: BTreeMap<String, Agent>,
    /// New recordings, when there is to be one; `None` plays the ones that there are.
    taken: Option<Mutex<Taken>>,
    log: Mutex<Vec<Asked>>,
}

/// Turns of new recordings, by agent and seed.
type Taken = BTreeMap<(String, u64), Vec<Turn>>;

#[derive(Debug)]
struct Agent {
    trace: TokenTrace,
    recordings: Vec<Recording>,
}

/// The body of a request.
#[derive(Deserialize)]
struct Body {
    model: String,
    #[serde(default)]
    seed: u64,
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    user: String,
    /// What a rule-based player of the model says: only when a recording is made.
    #[serde(default)]
    recorded_reply: Option<String>,
}

impl Llm {
    /// Starts one for these agents, which plays their recordings.
    ///
    /// # Errors
    /// If a recording is missing or the port of `at` (0: any) is taken.
    pub fn start(agents: &[Manifest], rates: Rates, at: (Ipv4Addr, u16)) -> Result<Self, Error> {
        Self::begin(agents, rates, at, false)
    }

    /// Starts one that takes recordings.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn record(agents: &[Manifest], rates: Rates, at: (Ipv4Addr, u16)) -> Result<Self, Error> {
        Self::begin(agents, rates, at, true)
    }

    fn begin(agents: &[Manifest], rates: Rates, at: (Ipv4Addr, u16), record: bool) -> Result<Self, Error> {
        let mut known = BTreeMap::new();
        for manifest in agents {
            let recordings = if record { Vec::new() } else { manifest.recordings()? };
            known.insert(manifest.name.clone(), Agent { trace: manifest.tokens, recordings });
        }
        let paces = Paces::new(rates, agents.iter().map(|manifest| manifest.tokens))?;
        let taken = record.then(Mutex::default);
        let model = Arc::new(Model { paces, agents: known, taken, log: Mutex::default() });
        let server = Server::start(at, Arc::clone(&model) as Arc<dyn Handler>)?;
        Ok(Self { model, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// All requests so far, in the order in which they ended.
    #[must_use]
    pub fn log(&self) -> Vec<Asked> {
        lock(&self.model.log).clone()
    }

    /// Ends it in the middle of whatever it answers.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// The turns that were recorded of that agent and seed since its last first turn.
    #[must_use]
    pub fn taken(&self, agent: &str, seed: u64) -> Vec<Turn> {
        let taken = self.model.taken.as_ref();
        taken.and_then(|taken| lock(taken).remove(&(agent.to_owned(), seed))).unwrap_or_default()
    }
}

impl Model {
    /// The reply, or the status and the message of a refusal.
    fn reply(&self, body: &Body, turn: u64) -> Result<String, (&'static str, String)> {
        let Some(agent) = self.agents.get(&body.model) else {
            let known: Vec<&str> = self.agents.keys().map(String::as_str).collect();
            let message = format!("no model `{}`: there are {}", body.model, known.join(", "));
            return Err(("404 Not Found", message));
        };
        if let Some(taken) = &self.taken {
            let reply = body.recorded_reply.clone().ok_or_else(|| {
                ("400 Bad Request", "a recording is made, and `recorded_reply` is missing".to_owned())
            })?;
            let mut taken = lock(taken);
            let turns = taken.entry((body.model.clone(), body.seed)).or_default();
            turns.truncate(turn as usize);
            turns.push(Turn::new(&body.messages, &reply));
            return Ok(reply);
        }
        let conflict = |message| ("409 Conflict", format!("turn {turn}: {message}"));
        let recording = usize::try_from(body.seed).ok().and_then(|seed| agent.recordings.get(seed));
        let recording = recording.ok_or_else(|| {
            let count = agent.recordings.len();
            conflict(format!("seed {}: there are {count} recordings, from 0", body.seed))
        })?;
        let recorded = recording
            .turns
            .get(turn as usize)
            .ok_or_else(|| conflict(format!("the recording ends after {} turns", recording.turns.len())))?;
        recorded.check(&body.messages).map_err(conflict)?;
        Ok(recorded.reply.clone())
    }
}

impl Handler for Model {
    fn handle(&self, request: &Request, answer: &mut Answer<'_>) -> io::Result<()> {
        let begun = Instant::now();
        if (request.method.as_str(), request.path.as_str()) != ("POST", "/v1/chat/completions") {
            return refuse(answer, "404 Not Found", "only POST /v1/chat/completions is here");
        }
        let body: Body = match serde_json::from_slice(&request.body) {
            Ok(body) => body,
            Err(error) => return refuse(answer, "400 Bad Request", &format!("the body: {error}")),
        };
        let turn = body.messages.iter().filter(|message| message.role == "assistant").count() as u64;
        let trace = self.agents.get(&body.model).map_or(TokenTrace::AzureCode, |agent| agent.trace);
        let pace = self.paces.of(trace, &body.model, body.seed, turn);
        let mut asked = Asked {
            user: body.user.clone(),
            agent: body.model.clone(),
            seed: body.seed,
            turn,
            pace,
            stream: body.stream,
            first_ms: 0.0,
            total_ms: 0.0,
            outcome: "off the recording",
        };
        let sent = match self.reply(&body, turn) {
            Err((status, message)) => refuse(answer, status, &message),
            Ok(reply) => {
                let sent = say(answer, &body, &reply, pace, begun, &mut asked.first_ms);
                asked.outcome = if sent.is_ok() { "answered" } else { "broken" };
                sent
            }
        };
        asked.total_ms = begun.elapsed().as_secs_f64() * 1e3;
        lock(&self.log).push(asked);
        sent
    }
}

fn say(
    answer: &mut Answer<'_>,
    body: &Body,
    reply: &str,
    pace: Pace,
    begun: Instant,
    first_ms: &mut f64,
) -> io::Result<()> {
    let id = format!("chatcmpl-{}-{}", body.model, body.seed);
    let usage = json!({
        "prompt_tokens": pace.prompt_tokens,
        "completion_tokens": pace.answer_tokens,
        "total_tokens": u64::from(pace.prompt_tokens) + u64::from(pace.answer_tokens),
    });
    if !body.stream {
        answer.wait_until(begun + pace.last)?;
        *first_ms = begun.elapsed().as_secs_f64() * 1e3;
        let message = json!({ "role": "assistant", "content": reply });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        let whole = json!({
            "id": id, "object": "chat.completion", "created": 0, "model": body.model,
            "choices": [choice], "usage": usage,
        });
        return answer.send("200 OK", "application/json", &[], whole.to_string().as_bytes());
    }
    answer.wait_until(begun + pace.first)?;
    *first_ms = begun.elapsed().as_secs_f64() * 1e3;
    answer.begin("text/event-stream")?;
    let chunk = |delta: Value, finish: Value, usage: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let whole = json!({
            "id": id, "object": "chat.completion.chunk", "created": 0, "model": body.model,
            "choices": [choice], "usage": usage,
        });
        format!("data: {whole}\n\n").into_bytes()
    };
    let parts = parts(reply, PARTS);
    let between = (pace.last - pace.first) / u32::try_from(parts.len()).unwrap_or(1).max(1);
    for (part, number) in parts.iter().zip(1..) {
        answer.part(&chunk(json!({ "content": part }), Value::Null, Value::Null))?;
        answer.wait_until(begun + pace.first + between * number)?;
    }
    answer.part(&chunk(json!({}), json!("stop"), usage))?;
    answer.part(b"data: [DONE]\n\n")?;
    answer.end()
}

/// The text in at most `count` parts that join to it.
fn parts(text: &str, count: usize) -> Vec<&str> {
    let length = text.len().div_ceil(count).max(1);
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = length.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}

fn refuse(answer: &mut Answer<'_>, status: &str, message: &str) -> io::Result<()> {
    let body = json!({ "error": { "message": message, "type": "mock" } });
    answer.send(status, "application/json", &[], body.to_string().as_bytes())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_to_the_text_and_split_no_character() {
        for text in ["", "a", "HIT", "präzise Wörter über Äpfel", &"x".repeat(1000)] {
            let parts = parts(text, PARTS);
            assert_eq!(parts.concat(), text);
            assert!(parts.len() <= PARTS, "{text}: {}", parts.len());
        }
    }
}
