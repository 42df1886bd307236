//! Runs a program on each of the images that power cuts left: the same kernel that wrote them mounts them, and repairs them first.

use std::io::Write as _;
use std::process::Stdio;

use rawmap_guest::job::{Check, say};

use crate::failure::Failure;
use crate::mounts::{mount_disk, unmount};
use crate::test::{code, command, enter_system, test_dir};
use crate::verify::on_partition;

pub fn run(job: &Check) -> Result<(), Failure> {
    enter_system(&job.test)?;
    let place = test_dir();
    for (number, count) in (0..).zip(&job.counts) {
        let judge = || {
            let judged = judge(job, usize::try_from(*count)?);
            unmount(&place)?;
            judged
        };
        let result = if job.image_len > 0 {
            on_partition(&job.test.disk, number, job.image_len, &place, judge)
        } else {
            mount_disk(&job.test.disk, &place).and_then(|()| judge())
        };
        match result {
            Ok(()) => println!("{}{number} ok", say::IMAGE),
            Err(error) => println!("{}{number} {error}", say::IMAGE),
        }
    }
    Ok(())
}

/// Has the program judge the image that is mounted. What it prints says why.
fn judge(job: &Check, count: usize) -> Result<(), Failure> {
    let mut child = command(&job.test)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let lines = job.lines.get(..count).ok_or("more lines than there are")?;
    let mut text = lines.join("\n");
    if count > 0 {
        text.push('\n');
    }
    if let Some(mut input) = child.stdin.take() {
        let writer = std::thread::spawn(move || {
            // It may know enough before the end.
            let _ = input.write_all(text.as_bytes());
        });
        let output = child.wait_with_output()?;
        let _ = writer.join();
        let status = code(output.status);
        if status != 0 {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let said: Vec<_> = said.lines().rev().take(3).collect();
            let said: Vec<_> = said.into_iter().rev().collect();
            return Err(format!("{}{status}: {}", say::JUDGED, said.join(" / ")).into());
        }
    }
    Ok(())
}
