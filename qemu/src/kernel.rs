//! Kernels: unpacked from a Debian package, or built from Debian's source.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::command::{kill_when_parent_ends, output};
use crate::rows::{Machine, Origin, Rows, root};
use crate::{cache, debian, modules};

/// A kernel in the cache.
#[derive(Debug)]
pub struct Kernel {
    /// What QEMU's `-kernel` takes.
    pub image: PathBuf,
    /// In the order in which they are loaded.
    pub modules: Vec<PathBuf>,
    /// What `uname -r` says.
    pub release: String,
}

/// Gets a machine's kernel: from the cache, or the network, or builds it.
pub fn get(rows: &Rows, machine: &Machine) -> Result<Kernel> {
    let folder = match machine.kernel {
        Origin::Debian => unpacked(rows, machine)?,
        Origin::Source => built(rows, machine)?,
    };
    let text = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    Ok(Kernel {
        image: folder.join("image"),
        modules: text("modules")?
            .lines()
            .map(|name| folder.join(name))
            .collect(),
        release: text("release")?.trim().to_owned(),
    })
}

/// The image and the modules that are needed, of a package that has many more.
fn unpacked(rows: &Rows, machine: &Machine) -> Result<PathBuf> {
    let files = debian::fetch(&debian::kernel_set(machine))?;
    let [package] = &files[..] else {
        bail!("{}: a kernel is one package", machine.name);
    };
    // The module of a file system may refuse the size of pages.
    let unused = |name: &String| {
        let mut of_others = rows.filesystem.iter().filter(|row| row.kind == *name);
        of_others.any(|_| !rows.has_kind(machine, name))
    };
    let modules: Vec<_> = rows
        .modules
        .iter()
        .filter(|name| !unused(name))
        .cloned()
        .collect();
    let mut parts = vec![package.as_os_str().as_encoded_bytes()];
    parts.extend(modules.iter().map(String::as_bytes));
    let key = format!("kernel-{}-{}", machine.name, debian::key(parts));
    cache::once(&key, |folder| {
        let all = folder.join("all");
        debian::unpack(package, &all)?;
        let boot = fs::read_dir(all.join("boot"))?.filter_map(Result::ok);
        let mut images = boot.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let release = name
                .strip_prefix("vmlinuz-")
                .or(name.strip_prefix("vmlinux-"))?;
            Some((entry.path(), release.to_owned()))
        });
        let (image, release) = images.next().context("no kernel in the package")?;
        fs::copy(image, folder.join("image"))?;
        let mut names = String::new();
        for (name, bytes) in modules::in_order(&all, &release, &modules)? {
            fs::write(folder.join(format!("{name}.ko")), bytes)?;
            names += &format!("{name}.ko\n");
        }
        fs::write(folder.join("modules"), names)?;
        fs::write(folder.join("release"), release)?;
        fs::remove_dir_all(all)?;
        Ok(())
    })
}

/// Debian's source, unpacked and edited.
fn source(rows: &Rows) -> Result<PathBuf> {
    let files = debian::fetch("kernel-source")?;
    let [package] = &files[..] else {
        bail!("the kernel's source is one package");
    };
    let edit = &rows.source.edit;
    let parts = [package.as_os_str().as_encoded_bytes(), edit.to.as_bytes()];
    cache::once(&format!("source-{}", debian::key(parts)), |folder| {
        eprintln!("unpacking {}", rows.source.package);
        let all = folder.join("all");
        debian::unpack(package, &all)?;
        let tar = all.join(format!("usr/src/{}.tar.xz", rows.source.package));
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(tar).arg("-C").arg(folder);
        output(unpack)?;
        fs::remove_dir_all(all)?;
        let path = folder.join(&rows.source.package).join(&edit.file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(
            text.contains(&edit.from),
            "{}: no {:?}",
            edit.file,
            edit.from
        );
        fs::write(&path, text.replacen(&edit.from, &edit.to, 1))?;
        Ok(())
    })
    .map(|folder| folder.join(&rows.source.package))
}

fn built(rows: &Rows, machine: &Machine) -> Result<PathBuf> {
    let mut config = String::new();
    for name in &machine.config {
        let path = root().join(format!("qemu/kernel/{name}.config"));
        config += &fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    }
    for option in &machine.options {
        config += &format!("{option}\n");
    }
    let source = source(rows)?;
    let parts = [source.as_os_str().as_encoded_bytes(), config.as_bytes()];
    let key = format!("kernel-{}-{}", machine.name, debian::key(parts));
    cache::once(&key, |folder| {
        build(rows, machine, &source, &config, folder)
    })
}

fn build(rows: &Rows, machine: &Machine, source: &Path, config: &str, folder: &Path) -> Result<()> {
    let compiler = format!("{}gcc", machine.cross);
    for tool in ["bc", "bison", "flex", "make", &compiler] {
        if Command::new(tool).arg("--version").output().is_err() {
            let tools = rows.source.tools.join(" ");
            bail!(
                "no {tool}, which building a kernel takes: run targets/setup --full, or install {tools} and {compiler}"
            );
        }
    }
    let out = folder.join("out");
    fs::create_dir(&out)?;
    let wanted = folder.join("wanted.config");
    fs::write(&wanted, config)?;
    let make = |goal: &str| {
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(source)
            .arg(format!("O={}", out.display()));
        make.arg(format!("ARCH={}", machine.arch));
        make.arg(format!("CROSS_COMPILE={}", machine.cross))
            .arg(goal);
        make
    };
    let mut configure = make("allnoconfig");
    configure.env("KCONFIG_ALLCONFIG", &wanted);
    output(configure)?;
    let taken = fs::read_to_string(out.join(".config"))?;
    let set = |line: &&str| line.starts_with("CONFIG_");
    for line in config.lines().filter(set) {
        ensure!(
            taken.lines().any(|have| have == line),
            "{}: the kernel did not take {line}: what it depends on is not set",
            machine.name
        );
    }
    let jobs = std::thread::available_parallelism()?.to_string();
    let mut compile = make(&machine.image);
    compile.args(["-j", &jobs]);
    let log = cache::folder().join(format!("kernel-{}.log", machine.name));
    run_with_progress(
        compile,
        &format!("building the kernel of {}", machine.name),
        &log,
    )?;
    let boot = out.join(format!("arch/{}/boot/{}", machine.arch, machine.image));
    fs::copy(&boot, folder.join("image")).with_context(|| boot.display().to_string())?;
    fs::copy(
        out.join("include/config/kernel.release"),
        folder.join("release"),
    )?;
    fs::write(folder.join("modules"), "")?;
    fs::remove_dir_all(out)?;
    Ok(())
}

/// Runs a long command: a count of its lines on a terminal, else a line now and then; all of them go to the log.
fn run_with_progress(mut command: Command, what: &str, log: &Path) -> Result<()> {
    let mut file = File::create(log).with_context(|| log.display().to_string())?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template(
        "{spinner} {msg} {pos} {elapsed}",
    )?);
    bar.set_message(what.to_owned());
    let hidden = bar.is_hidden();
    if hidden {
        eprintln!("{what}: some minutes; log: {}", log.display());
    }
    let (reader, writer) = std::io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    kill_when_parent_ends(&mut command);
    let mut child = command.spawn().context("make")?;
    // Its ends of the pipe.
    drop(command);
    let start = std::time::Instant::now();
    let mut minutes = 0;
    for line in BufReader::new(reader).lines() {
        writeln!(file, "{}", line?)?;
        bar.inc(1);
        if hidden && start.elapsed().as_secs() / 60 > minutes {
            minutes += 1;
            eprintln!("{what}: {minutes} min, {} steps", bar.position());
        }
    }
    let status = child.wait()?;
    bar.finish_and_clear();
    if !status.success() {
        let mut text = String::new();
        File::open(log)?.read_to_string(&mut text)?;
        let error = text
            .lines()
            .rfind(|line| line.contains("error"))
            .unwrap_or("");
        bail!("{what}: make failed: {error} (log: {})", log.display());
    }
    Ok(())
}
