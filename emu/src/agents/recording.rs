//! Recorded conversations: what the mock model answers, and to which prompts.
//!
//! A recording is one file, `emu/agents/NAME/recordings/SEED.json`. It holds, turn by turn, the digest of all messages
//! that the model had before it and its reply, and at the end the agent's answer. So a replay proves more than that
//! an answer came: every prompt, and with it every page that was read and every tool that was run, was the same as in
//! the recording.
//!
//! The replies come from `model.py` of each agent, which plays the model by rules when `trenvx emu agents record`
//! is run; no language model was asked.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;

/// Digits of a digest.
const DIGITS: usize = 16;
/// Characters of a prompt that are kept to show where a replay left the recording.
const BEGINNING: usize = 60;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// One request and its reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Digest of all messages before the reply.
    pub digest: String,
    /// How the last of them begins.
    pub begins: String,
    /// The reply.
    pub reply: String,
}

/// A conversation from its beginning to the agent's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// The requests, in order.
    pub turns: Vec<Turn>,
    /// What the agent answered in the end.
    pub answer: Value,
}

impl Turn {
    /// Of these messages and the reply to them.
    #[must_use]
    pub fn new(messages: &[Message], reply: &str) -> Self {
        let last = messages.last().map_or("", |message| message.content.as_str());
        Self {
            digest: digest(messages),
            begins: last.chars().take(BEGINNING).collect(),
            reply: reply.to_owned(),
        }
    }

    /// Whether these messages are the ones that were recorded; else what differs.
    ///
    /// # Errors
    /// A sentence about the first difference.
    pub fn check(&self, messages: &[Message]) -> Result<(), String> {
        let found = Self::new(messages, "");
        if found.digest == self.digest {
            return Ok(());
        }
        let same = if found.begins == self.begins {
            "begins alike and goes on differently, or follows others".to_owned()
        } else {
            format!("begins with {:?}", found.begins)
        };
        Err(format!("the prompt is not the recorded one: expected {:?}…, and it {same}", self.begins))
    }
}

impl Recording {
    /// The file of one.
    #[must_use]
    pub fn path(agent: &Path, seed: u64) -> PathBuf {
        agent.join("recordings").join(format!("{seed}.json"))
    }

    /// Reads one.
    ///
    /// # Errors
    /// If there is no such file, or it is not one.
    pub fn read(agent: &Path, seed: u64) -> Result<Self, Error> {
        let file = Self::path(agent, seed);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Error::file(&file, format!("{error}: make it with `trenvx emu agents record`"))
        })?;
        serde_json::from_str(&text).map_err(|error| Error::file(&file, error))
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, agent: &Path, seed: u64) -> Result<(), Error> {
        let file = Self::path(agent, seed);
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::file(&file, error))?;
        std::fs::create_dir_all(agent.join("recordings")).map_err(Error::io("make", agent))?;
        Ok(traces::atomic::write_file(&file, (text + "\n").as_bytes())?)
    }
}

fn digest(messages: &[Message]) -> String {
    let mut hasher = blake3::Hasher::new();
    for message in messages {
        for part in [&message.role, &message.content] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().as_str()[..DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(content: &str) -> Vec<Message> {
        vec![Message { role: "user".to_owned(), content: content.to_owned() }]
    }

    #[test]
    fn another_prompt_is_found_and_told() {
        let turn = Turn::new(&said("one card"), "HIT");
        assert_eq!(turn.check(&said("one card")), Ok(()));
        let told = turn.check(&said("two cards")).unwrap_err();
        assert!(told.contains("one card") && told.contains("two cards"), "{told}");
    }

    #[test]
    fn what_was_said_before_counts_and_boundaries_do_too() {
        let mut longer = said("one card");
        longer.insert(0, Message { role: "system".to_owned(), content: "play".to_owned() });
        assert!(Turn::new(&said("one card"), "").check(&longer).is_err());
        let (a, b) = ([said("ab"), said("c")].concat(), [said("a"), said("bc")].concat());
        assert_ne!(digest(&a), digest(&b));
    }
}
