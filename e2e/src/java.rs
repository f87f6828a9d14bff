//! Programs under test on Mesos' Java library: `e2e/frameworks/java`, run from their source with the unmodified library of PySpark
//! and our `libmesos.so`.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    cluster::{binary, repository},
    program::wait_for,
};

/// How long a line may take: a program is compiled first, which takes a busy machine some seconds.
const DEADLINE: Duration = Duration::from_secs(90);

/// A running program. Dropping it kills it.
pub struct JavaProgram {
    process: Child,
    output: PathBuf,
    errors: PathBuf,
}

/// The jar of Mesos' Java library.
pub fn library() -> anyhow::Result<PathBuf> {
    let directory = std::env::var("CATAMARAN_FRAMEWORKS")
        .context("CATAMARAN_FRAMEWORKS is not set; run the tests with `cargo xtask test --only NAME`")?;
    for version in fs::read_dir(Path::new(&directory).join("lib"))? {
        let jars = version?.path().join("site-packages/pyspark/jars");
        let Ok(jars) = fs::read_dir(jars) else { continue };
        for jar in jars {
            let jar = jar?;
            if jar.file_name().to_string_lossy().starts_with("mesos-") {
                return Ok(jar.path());
            }
        }
    }
    bail!("PySpark has no jar of Mesos in {directory}")
}

impl JavaProgram {
    /// Starts `e2e/frameworks/java/PROGRAM.java`, which writes its output into a directory.
    pub fn start(directory: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let source = repository().join("e2e/frameworks/java").join(format!("{program}.java"));
        let (output, errors) =
            (directory.join(format!("{program}.stdout")), directory.join(format!("{program}.stderr")));
        let process = Command::new("java")
            .arg("-cp")
            .arg(library()?)
            .arg(&source)
            .args(arguments)
            .env("MESOS_NATIVE_JAVA_LIBRARY", binary().with_file_name("libmesos.so"))
            .env("FRAMEWORK_SOURCE", &source)
            .stdin(Stdio::piped())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .spawn()
            .context("could not start java")?;
        Ok(Self { process, output, errors })
    }

    /// The lines that it has printed.
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What it and the native library have written to the standard error output, and its lines.
    pub fn log(&self) -> String {
        format!("{}\n{}", self.lines().join("\n"), fs::read_to_string(&self.errors).unwrap_or_default())
    }

    /// Waits until it has printed a line.
    pub fn wait_for_line(&mut self, line: &str) -> anyhow::Result<()> {
        let waited = wait_for(&format!("the line '{line}'"), DEADLINE, || {
            if self.lines().iter().any(|said| said == line) {
                return Ok(Some(()));
            }
            match self.process.try_wait()? {
                // Its last lines may have been written since.
                Some(_) if self.lines().iter().any(|said| said == line) => Ok(Some(())),
                Some(status) => bail!("java ended with {status}"),
                None => Ok(None),
            }
        });
        waited.with_context(|| self.log())
    }

    /// Ends its standard input.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        let mut input = self.process.stdin.take().context("it has gone on already")?;
        Ok(input.write_all(b"\n")?)
    }

    /// Waits until it ends, which must be with success.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        let ended = wait_for("java to end", DEADLINE, || Ok(self.process.try_wait()?));
        let status = ended.with_context(|| self.log())?;
        if !status.success() {
            bail!("java ended with {status}:\n{}", self.log());
        }
        Ok(())
    }
}

impl Drop for JavaProgram {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
