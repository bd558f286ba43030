//! `agents.csv`: what agents asked for and cost, for each function that is one. Costs are in
//! nano-dollars, processor times as asked for.

use super::sink::Sink;
use super::table::{Rows, each_row};
use crate::error::StoreError;
use platform::records::{AgentRecord, FunctionRecord};
use std::path::Path;
use traces::Duration;

const HEADER: [&str; 10] = [
    "function",
    "completed",
    "prompt_tokens",
    "answer_tokens",
    "llm_wait_ns",
    "tool_time_ns",
    "browser_time_ns",
    "held_ns",
    "sandbox_cost_nano_usd",
    "model_cost_nano_usd",
];

pub(crate) fn write(functions: &[FunctionRecord], sink: &mut Sink) -> Result<(), StoreError> {
    let mut rows = Rows::new(sink, &HEADER)?;
    for function in functions {
        let Some(agent) = &function.agent else { continue };
        let numbers = [
            agent.completed,
            agent.prompt_tokens,
            agent.answer_tokens,
            agent.llm_wait.as_nanos(),
            agent.tool_time.as_nanos(),
            agent.browser_time.as_nanos(),
            agent.held.as_nanos(),
            agent.sandbox_cost,
            agent.model_cost,
        ];
        let row: Vec<String> =
            std::iter::once(function.name.clone()).chain(numbers.map(|n| n.to_string())).collect();
        rows.push(&row)?;
    }
    rows.finish()
}

/// Puts what is in the file into the functions.
pub(crate) fn read(path: &Path, functions: &mut [FunctionRecord]) -> Result<(), StoreError> {
    each_row(path, &HEADER, |row| {
        let name: String = row.value()?;
        let completed = row.value()?;
        let (prompt_tokens, answer_tokens) = (row.value()?, row.value()?);
        let mut time = || row.value().map(Duration::from_nanos);
        let (llm_wait, tool_time, browser_time, held) = (time()?, time()?, time()?, time()?);
        let (sandbox_cost, model_cost) = (row.value()?, row.value()?);
        let Some(function) = functions.iter_mut().find(|function| function.name == name) else {
            return Err(row.problem(format!("no function \"{name}\" in functions.csv")));
        };
        function.agent = Some(AgentRecord {
            completed,
            prompt_tokens,
            answer_tokens,
            llm_wait,
            tool_time,
            browser_time,
            held,
            sandbox_cost,
            model_cost,
        });
        Ok(())
    })
}
