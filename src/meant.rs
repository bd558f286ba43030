//! Experiments and claims as named on the line.

use crate::common::Folders;
use figures::{Claim, Judged};

/// What words on the line stand for: experiments, or claims.
pub struct Meant {
    /// Names or files of experiments.
    pub experiments: Vec<String>,
    /// Claims whose verdicts are shown; `None` for those of the experiments.
    claims: Option<Vec<Claim>>,
}

impl Meant {
    /// Looks claims up; other words are experiments.
    pub fn of(folders: &Folders, words: &[String]) -> anyhow::Result<Self> {
        let claims = configs::claims::load(&folders.configs()?)?;
        let named = |word: &String| claims.iter().find(|claim| claim.id == word.to_lowercase());
        if let Some(unknown) = words.iter().find(|word| is_like_a_claim(word) && named(word).is_none()) {
            let known: Vec<&str> = claims.iter().map(|claim| claim.id.as_str()).collect();
            anyhow::bail!("{unknown}: no such claim in configs/claims.toml: known are {}", known.join(", "));
        }
        if words.is_empty()
            || words.iter().any(|word| word == "all")
            || !words.iter().any(|w| named(w).is_some())
        {
            return Ok(Self { experiments: folders.names(words)?, claims: None });
        }
        let mut meant = Self { experiments: Vec::new(), claims: None };
        let mut shown: Vec<Claim> = Vec::new();
        for word in words {
            let experiment = match named(word) {
                Some(claim) => {
                    shown.push(claim.clone());
                    claim.experiment.clone()
                }
                None => {
                    let id = word.split('-').next().unwrap_or(word);
                    shown.extend(claims.iter().filter(|claim| claim.experiment == id).cloned());
                    word.clone()
                }
            };
            if !experiment.is_empty() && !meant.experiments.contains(&experiment) {
                meant.experiments.push(experiment);
            }
        }
        meant.claims = Some(shown);
        Ok(meant)
    }

    /// Whether this machine is used for an experiment: for claims alone only if one is about what is measured.
    pub fn is_measured(&self, experiment: &str) -> bool {
        let of = |claim: &Claim| claim.experiment == experiment && claim.measured.is_some();
        self.claims.as_ref().is_none_or(|claims| claims.iter().any(of))
    }

    /// The verdicts that were asked for.
    pub fn shown(&self, judged: Vec<Judged>) -> Vec<Judged> {
        let Some(claims) = &self.claims else { return judged };
        let of = |claim: &Claim| judged.iter().find(|one| one.claim.id == claim.id).cloned();
        let undecidable =
            |claim: &Claim| figures::judge::<figures::ExperimentData>(std::slice::from_ref(claim), &[]).pop();
        claims.iter().filter_map(|claim| of(claim).or_else(|| undecidable(claim))).collect()
    }
}

/// `c01`, `g12`: no experiment is named like that.
fn is_like_a_claim(word: &str) -> bool {
    let number = word.strip_prefix(['c', 'g', 'C', 'G']).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}
