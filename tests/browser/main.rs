//! The report in a real browser, without a screen: no complaints in the console, filters work, nothing
//! is wider than the window at 360 and 1280 pixels, and everything can be reached from the keyboard.

mod chromium;

use chromium::Page;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// A report over one small experiment, with verdicts, figures, long tables and a reference machine.
fn report(out: &Path) -> std::path::PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .args(["reproduce", "e07", "e16", "--tier", "kick", "--quiet", "--out"])
        .arg(out)
        .env("TRENVX_CONFIGS", Path::new(env!("CARGO_MANIFEST_DIR")).join("configs"))
        .output()
        .expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out.join("report-e07-e16.html")
}

#[test]
fn the_report_works_in_a_browser() {
    if emu::doctor::skip_without(&["chromium"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = report(&folder.path().join("out"));
    let mut page = Page::open(&report, folder.path());
    fits(&mut page);
    filters(&mut page);
    keyboard(&mut page);
    assert_eq!(page.complaints(), Vec::<String>::new(), "the console is quiet");
    // The probes themselves can fail.
    page.evaluate("console.error('a complaint')");
    assert_eq!(page.complaints().len(), 1);
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"width: 3000px; max-width: none\">wide</p>')");
    assert_eq!(too_wide(&mut page).as_array().map(Vec::len), Some(1));
}

/// Nothing is cut off at the right, but for what scrolls by itself.
fn fits(page: &mut Page) {
    for width in [360, 1280] {
        page.resize(width, 800);
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)");
        let wide = too_wide(page);
        assert_eq!(wide, json!([]), "wider than {width} pixels");
        let scrolls = page.evaluate("document.documentElement.scrollWidth - innerWidth");
        assert!(
            scrolls.as_f64().expect("a number") <= 0.0,
            "at {width} pixels the page scrolls sideways by {scrolls}"
        );
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)");
    }
}

/// What reaches beyond the right end of the window and does not scroll by itself.
fn too_wide(page: &mut Page) -> serde_json::Value {
    page.evaluate(
        "[...document.querySelectorAll('body *')]
           .filter(one => !one.closest('.scroll, pre, .skip') && one.getBoundingClientRect().right > innerWidth + 0.5)
           .map(one => one.tagName + '.' + one.className + ' ' + one.textContent.slice(0, 40))",
    )
}

/// Words typed into a filter hide the rows that lack them; without words all rows are back.
fn filters(page: &mut Page) {
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)");
    let rows = "document.querySelectorAll('#summary-e07 tbody tr')";
    let shown = format!("[...{rows}].filter(row => row.offsetParent !== null).length");
    let all = page.evaluate(&shown).as_u64().expect("a count");
    assert!(all > 50, "the table has {all} rows");
    page.evaluate("document.querySelector('input[data-table=\"summary-e07\"]').focus()");
    page.type_text("t-cxl local");
    let few = page.evaluate(&shown).as_u64().expect("a count");
    let expected = format!(
        "[...{rows}].filter(row => /t-cxl/.test(row.textContent) && /local/.test(row.textContent)).length"
    );
    assert_eq!(few, page.evaluate(&expected).as_u64().expect("a count"));
    assert!(few > 0 && few < all, "{few} of {all}");
    let said = page.evaluate("document.querySelector('output[for=\"summary-e07\"]').textContent");
    assert_eq!(said, json!(format!("{few} of {all}")));
    page.evaluate("document.activeElement.select()");
    page.press("Backspace", 8);
    assert_eq!(page.evaluate(&shown).as_u64(), Some(all), "all rows are back");
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)");
}

/// From the top with Tab and Enter alone: past the links, into a folded table, into its filter.
fn keyboard(page: &mut Page) {
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)");
    page.resize(1280, 800);
    page.reload();
    page.press("Tab", 9);
    let first = page.evaluate("document.activeElement.className");
    assert_eq!(first, json!("skip"), "the first stop skips the navigation");
    let seen = page.evaluate("document.activeElement.getBoundingClientRect().left >= 0");
    assert_eq!(seen, json!(true), "it can be seen while it has the focus");
    page.press("Enter", 13);
    assert_eq!(page.evaluate("location.hash"), json!("#verdicts"));
    let mut stops = Vec::new();
    let mut opened = false;
    for _ in 0..200 {
        page.press("Tab", 9);
        let stop = page.evaluate(
            "(() => { const one = document.activeElement; const box = one.getBoundingClientRect();
               const style = getComputedStyle(one);
               return [one.tagName, one.dataset.table || '', box.width > 0 && style.outlineStyle !== 'none'] })()",
        );
        assert_eq!(stop[2], json!(true), "stop {} cannot be seen: {stop}", stops.len() + 1);
        if stop[0] == "SUMMARY" && !opened {
            page.press("Enter", 13);
            opened = page.evaluate("document.activeElement.parentElement.open") == json!(true);
            assert!(opened, "Enter opens a folded table");
        }
        if stop[0] == "INPUT" && opened {
            page.type_text("nothing has these words");
            let table = stop[1].as_str().expect("a name");
            let left = page.evaluate(&format!(
                "[...document.querySelectorAll('#{table} tbody tr')].filter(row => row.offsetParent !== null).length"
            ));
            assert_eq!(left, json!(0), "what is typed filters");
            return;
        }
        stops.push(stop);
    }
    panic!("no filter was reached in {} stops: {stops:?}", stops.len());
}
