//! `cargo qemu`: real kernels in QEMU for the tests, and power cuts. See qemu/README.md.

mod cache;
mod command;
mod count;
mod debian;
mod disks;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod powercut;
mod rows;
mod skips;
mod test;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use rawmap_guest::workload::Scenario;

use rows::{Lock, Rows};

/// Real kernels in QEMU: boots them, runs the tests on them, and cuts their power
#[derive(Parser)]
#[command(name = "cargo qemu", bin_name = "cargo qemu", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the machines and file systems of machines.toml
    List {
        /// For scripts: name, target and file systems of these: "default", "all", a machine or a target triple
        #[arg(long)]
        names: Option<String>,
    },
    /// Ask Debian for the packages of new and changed rows, and write packages.toml
    Lock {
        /// Of all rows: takes what Debian has today
        #[arg(long)]
        update: bool,
    },
    /// Get kernels: "all", "default", a machine or a target triple
    Kernel {
        #[command(subcommand)]
        what: KernelCommand,
    },
    /// Boot a machine with a program: of the tree, or of its own small Debian system
    Boot {
        /// A row of machines.toml
        machine: String,
        /// The file system at /rawmap, or "none"
        #[arg(long, default_value = "ext4")]
        fs: String,
        /// Leave /proc unmounted
        #[arg(long)]
        no_proc: bool,
        /// The program and its arguments
        #[arg(last = true, default_values = ["uname", "-a"])]
        program: Vec<String>,
    },
    /// Run the integration tests in a guest: rung 4
    Test {
        /// A machine, a target triple, "default" or "all"
        target: String,
        /// The file system that the tests write to
        #[arg(long, default_value = "ext4")]
        fs: String,
        /// For the test programs
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Cut the power of a guest that flushes, and check all that was acknowledged: rung 5
    Powercut {
        /// A machine, a target triple, "default" or "all"
        target: String,
        /// Only these file systems
        #[arg(long)]
        fs: Vec<String>,
        /// All file systems of a machine, not the default ones
        #[arg(long)]
        all: bool,
        /// Only this scenario: flushes, controls, no-barrier, full-disk, bad-block
        #[arg(long, value_parser = scenario)]
        scenario: Vec<Scenario>,
        /// Chooses the steps, when the power is cut, and what is lost then; the time if not given. Without --cut the
        /// run is made anew, in the place of a kept one of that seed
        #[arg(long, value_parser = seed)]
        seed: Option<u64>,
        /// How many cuts of each run of flushes; the other scenarios get a quarter, and so does flash
        #[arg(long, default_value_t = 64)]
        cuts: u32,
        /// Only the cut of that number: with the seed, what a failure prints
        #[arg(long, requires = "seed")]
        cut: Option<u32>,
        /// Machines at a time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Write a table of the results
        #[arg(long)]
        table: Option<std::path::PathBuf>,
        /// Any program for that machine, with its arguments, in place of ours; /rawmap is its disk. It prints a line when it has
        /// promised something
        #[arg(long, requires = "check", conflicts_with_all = ["all", "scenario", "jobs", "table", "at_least"])]
        program: Option<String>,
        /// What judges each cut, with its arguments: /rawmap is the disk after it, the lines that were printed before it are the
        /// standard input, and status 0 is that all is there
        #[arg(long, requires = "program")]
        check: Option<String>,
        /// The power of the program is cut after so many lines
        #[arg(long, default_value_t = 500, requires = "program")]
        lines: usize,
        /// Or after so many seconds
        #[arg(long, default_value_t = 120, requires = "program")]
        seconds: u64,
        /// A control: the file system leaves out its flushes
        #[arg(long, requires = "program")]
        no_barrier: bool,
        /// A control: at least one cut has to be refused
        #[arg(long, requires = "program")]
        must_lose: bool,
        /// Fail if there were fewer cuts of flushes than that, or fewer different images of them than seven of ten
        #[arg(long, default_value_t = 0)]
        at_least: u64,
    },
    /// Count the tests of a log: announced, passed, failed. Fails where a program did not say what became of all of its own
    Count { log: std::path::PathBuf },
    /// From the logs of a whole ladder: which tests did not run somewhere. Fails where one ran nowhere
    Skips {
        /// Of `tests/run`
        folder: std::path::PathBuf,
        /// "all", or "full"
        ladder: String,
    },
    /// What cargo calls for each test program; RAWMAP_MACHINE, RAWMAP_FS and RAWMAP_NO_PROC say where
    #[command(hide = true)]
    Runner {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
}

#[derive(Subcommand)]
enum KernelCommand {
    /// Fetch Debian's kernels, and programs, into the cache
    Fetch { name: String },
    /// Build kernels from Debian's source, in about five minutes each
    Build { name: String },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("cargo qemu: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<u8> {
    cache::check()?;
    let rows = Rows::read()?;
    match command {
        Command::List { names: None } => print(&list(&rows)?)?,
        Command::List { names: Some(which) } => {
            let mut text = String::new();
            for machine in rows.machines(&which)? {
                let filesystems = machine.filesystems.join(" ");
                text += &format!("{} {} {filesystems}\n", machine.name, machine.target);
            }
            print(&text)?;
        }
        Command::Lock { update } => debian::lock(&rows, update)?,
        Command::Kernel { what } => return get_kernels(&rows, &what),
        Command::Boot {
            machine,
            fs,
            no_proc,
            program,
        } => {
            let filesystem = match &*fs {
                "none" => None,
                fs => Some(rows.filesystem(fs)?),
            };
            let room = test::Room {
                filesystem,
                proc: !no_proc,
                all: false,
            };
            return test::run(&rows, rows.machine(&machine)?, &room, &program);
        }
        Command::Test {
            target,
            fs,
            arguments,
        } => {
            let mut worst = 0;
            let chosen = rows.machines(&target)?;
            // One that is named says what it has not.
            let several = chosen.len() > 1;
            for machine in chosen {
                if several && machine.filesystems.is_empty() {
                    continue;
                }
                let (name, page) = (&machine.name, machine.page);
                let release = kernel::get(&rows, machine)?.release;
                eprintln!("{name}: Linux {release}, pages of {page} bytes, on {fs}");
                worst = worst.max(test::cargo_test(machine, &fs, &arguments)?);
            }
            return Ok(worst);
        }
        Command::Powercut {
            target,
            fs,
            all,
            scenario,
            seed,
            cuts,
            cut,
            jobs,
            table,
            at_least,
            program,
            check,
            lines,
            seconds,
            no_barrier,
            must_lose,
        } => {
            if let (Some(program), Some(check)) = (program, check) {
                let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
                let options = powercut::program::Options {
                    machine: target,
                    filesystem: fs.first().map_or("ext4", |name| name).to_owned(),
                    program: words(program),
                    check: words(check),
                    lines,
                    seconds,
                    seed: seed.unwrap_or_else(seed_of_now),
                    cuts,
                    cut,
                    no_barrier,
                    must_lose,
                };
                return Ok(u8::from(!powercut::program::powercut(&rows, &options)?));
            }
            let options = powercut::Options {
                target,
                filesystems: fs,
                all,
                scenarios: scenario,
                seed: seed.unwrap_or_else(seed_of_now),
                cuts,
                cut,
                jobs,
                table,
                at_least,
            };
            return Ok(u8::from(!powercut::powercut(&rows, &options)?));
        }
        Command::Count { log } => {
            let text = std::fs::read(&log).with_context(|| format!("{}", log.display()))?;
            let counts = count::count(&String::from_utf8_lossy(&text));
            print(&format!("{counts}\n"))?;
            for wrong in &counts.wrong {
                eprintln!("{wrong}");
            }
            return Ok(u8::from(!counts.wrong.is_empty()));
        }
        Command::Skips { folder, ladder } => {
            let (table, wrong) = skips::skips(&folder, &ladder)?;
            print(&table)?;
            for wrong in &wrong {
                eprintln!("{wrong}");
            }
            return Ok(u8::from(!wrong.is_empty()));
        }
        Command::Runner { program } => return test::run_from_environment(&rows, &program),
    }
    Ok(0)
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL
        .into_iter()
        .find(|scenario| scenario.name() == name);
    let names = Scenario::ALL.map(Scenario::name).join(", ");
    found.ok_or_else(|| format!("there are: {names}"))
}

/// Decimal, or hexadecimal after "0x".
fn seed(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

/// Another each time.
fn seed_of_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_millis() as u64)
}

fn list(rows: &Rows) -> Result<String> {
    let lock = Lock::read()?;
    let mut text = format!(
        "{:<14} {:<30} {:>5}  {:<7}  kernel\n",
        "machine", "target", "page", "default"
    );
    for machine in &rows.machine {
        let package = lock.set.get(&debian::kernel_set(machine));
        let package = package.and_then(|set| set.file.first());
        text += &format!(
            "{:<14} {:<30} {:>5}  {:<7}  {}\n{:<14} {}\n",
            machine.name,
            machine.target,
            machine.page,
            if machine.default { "yes" } else { "full" },
            package.map_or("not locked: run `cargo qemu lock`", |package| package
                .name()),
            "",
            machine.filesystems.join(" ")
        );
    }
    Ok(text)
}

/// Prints it, to whom may have seen enough and gone.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

fn get_kernels(rows: &Rows, what: &KernelCommand) -> Result<u8> {
    let (name, origin) = match what {
        KernelCommand::Fetch { name } => (name, rows::Origin::Debian),
        KernelCommand::Build { name } => (name, rows::Origin::Source),
    };
    let chosen = rows.machines(name)?;
    // One that is named is got, wherever it comes from.
    let several = chosen.len() > 1;
    if several && chosen.iter().all(|machine| machine.kernel != origin) {
        bail!("{name}: none of these kernels is {}", origin.name());
    }
    for machine in chosen {
        if several && machine.kernel != origin {
            continue;
        }
        let kernel = kernel::get(rows, machine)?;
        debian::userland(machine)?;
        println!(
            "{}: Linux {}: {}",
            machine.name,
            kernel.release,
            kernel.image.display()
        );
    }
    Ok(0)
}
