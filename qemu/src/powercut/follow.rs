//! What the host and the guest say to each other in a run.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oorandom::Rand32;
use rawmap_guest::job::say;
use rawmap_guest::workload::{Scenario, Steps, Style};
use serde::{Deserialize, Serialize};

use super::log::Log;
use crate::machine::Guest;

/// A step that the guest has done with.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Ack {
    /// Entries of the log when the host read of it. The guest waits for the host before its next step.
    pub entries: usize,
    /// It did nothing: there is no room.
    pub full: bool,
}

/// The guest failed while it made its files: nothing was promised yet.
#[derive(Debug)]
pub struct NotReady;

impl std::fmt::Display for NotReady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "before the workload")
    }
}

/// What a line of the guest's says to us.
#[derive(Debug, PartialEq)]
enum Said {
    Ready(usize),
    Done {
        step: u32,
        full: bool,
    },
    Says(String),
    /// A line of the kernel's.
    Nothing,
}

impl Said {
    /// Refuses what has our mark and is none of ours.
    fn parse(line: &str) -> Result<Self> {
        let number = |text: &str| -> Result<u32> { text.trim().parse().context("a number") };
        let parsed = if let Some(page) = line.strip_prefix(say::READY) {
            number(page).map(|page| Self::Ready(page as usize))
        } else if let Some(step) = line.strip_prefix(say::ACK) {
            number(step).map(|step| Self::Done { step, full: false })
        } else if let Some(step) = line.strip_prefix(say::FULL) {
            number(step).map(|step| Self::Done { step, full: true })
        } else if let Some(text) = line.strip_prefix(say::SAYS) {
            Ok(Self::Says(text.to_owned()))
        } else if line.starts_with("rawmap: ") {
            bail!("the guest said {line:?}");
        } else {
            Ok(Self::Nothing)
        };
        parsed.with_context(|| format!("the guest said {line:?}"))
    }
}

/// Whether a call may have something to tell in a scenario, or the disk may be full.
fn is_sensible(said: &Said, scenario: Scenario, style: Option<Style>) -> bool {
    match said {
        Said::Says(_) => matches!(scenario, Scenario::FullDisk | Scenario::BadBlock),
        Said::Done { full: true, .. } => style == Some(Style::Fill),
        _ => true,
    }
}

/// Sends the guest from step to step, and cuts its power in the last. An answer that makes no sense there ends the run.
pub fn follow(
    guest: &mut Guest,
    log: &mut Log,
    steps: Steps,
    scenario: Scenario,
    seed: u64,
    page: usize,
) -> Result<(usize, Vec<Ack>, Vec<String>)> {
    let mut says = Vec::new();
    let mut next = |guest: &mut Guest, style: Option<Style>| -> Result<Said> {
        loop {
            let line = guest.line()?;
            let said = Said::parse(&line.context("the guest ended before its power was cut")?)?;
            ensure!(
                is_sensible(&said, scenario, style),
                "the guest said {said:?} in {}, {style:?}",
                scenario.name()
            );
            match said {
                Said::Nothing => {}
                Said::Says(text) => says.push(text),
                said => return Ok(said),
            }
        }
    };
    let found = next(guest, None).context(NotReady)?;
    ensure!(
        found == Said::Ready(page),
        "the guest said {found:?}, and the row has pages of {page} bytes: correct the row"
    );
    let ready = log.refresh()?;
    let mut acks = Vec::new();
    for step in steps {
        guest.say(say::GO)?;
        if step.number == scenario.steps() {
            break;
        }
        let said = next(guest, Some(step.style))?;
        let Said::Done { step: done, full } = said else {
            bail!("the guest said {said:?} in step {}", step.number);
        };
        ensure!(
            done == step.number,
            "the guest is at step {done}, not {}",
            step.number
        );
        acks.push(Ack {
            entries: log.refresh()?,
            full,
        });
    }
    // Somewhere in the last step.
    let mut random = Rand32::new(seed);
    std::thread::sleep(Duration::from_micros(random.rand_range(0..20_000).into()));
    guest.end();
    log.refresh()?;
    Ok((ready, acks, says))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_was_not_ready_is_known_as_such() {
        let failed = anyhow::anyhow!("EIO")
            .context(NotReady)
            .context("all it said");
        assert!(failed.is::<NotReady>() && !anyhow::anyhow!("EIO").is::<NotReady>());
    }

    #[test]
    fn answers_are_taken_where_they_make_sense() {
        let parse = |line: &str| Said::parse(line).unwrap();
        assert_eq!(parse("rawmap: ready 4096"), Said::Ready(4096));
        let done = |full| Said::Done { step: 7, full };
        assert_eq!(parse("rawmap: ack 7"), done(false));
        assert_eq!(parse("rawmap: full 7"), done(true));
        assert_eq!(parse("[    1.0] kernel: rawmap: ack 7"), Said::Nothing);
        for line in ["rawmap: ack", "rawmap: ack seven", "rawmap: ok 7"] {
            assert!(Said::parse(line).is_err(), "{line}");
        }
        for style in [Style::Range, Style::Fill] {
            assert!(is_sensible(&done(false), Scenario::Flushes, Some(style)));
        }
        assert!(is_sensible(
            &done(true),
            Scenario::FullDisk,
            Some(Style::Fill)
        ));
        assert!(!is_sensible(
            &done(true),
            Scenario::FullDisk,
            Some(Style::Range)
        ));
        let says = Said::Says(String::new());
        assert!(is_sensible(&says, Scenario::BadBlock, Some(Style::Retry)));
        assert!(!is_sensible(&says, Scenario::Flushes, Some(Style::Range)));
    }
}
