//! Where else on this machine catamaran runs: for the messages of verbs that find nothing in their own data directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::running;

/// The processes of this machine.
const PROCESSES: &str = "/proc";
/// What the name of a catamaran process begins with.
const NAME: &str = "catamaran";

/// The data directories other than `known` that processes of this machine have locked. Those of other users are found by root only.
pub fn others(known: &Path) -> Vec<PathBuf> {
    locked_by(Path::new(PROCESSES), known)
}

fn locked_by(processes: &Path, known: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(processes)
        .filter(|process| {
            fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim_end().starts_with(NAME))
        })
        .flat_map(|process| entries(&process.join("fd")))
        .filter_map(|descriptor| fs::read_link(descriptor).ok())
        .filter(|file| file.file_name().is_some_and(|name| name == "lock"))
        .filter_map(|file| file.parent().map(Path::to_owned))
        .filter(|data| data != known && running::of(data).is_ok_and(|process| process.is_some()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// ` --data-dir DIR` if the verbs would not find this directory by themselves.
pub fn flag(data: &Path) -> String {
    match running::choose(None) == data {
        true => String::new(),
        false => argument(data),
    }
}

/// The flag with its value, quoted for a shell if necessary.
pub fn argument(data: &Path) -> String {
    let text = data.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    match text.chars().all(plain) {
        true => format!(" --data-dir {text}"),
        false => format!(" --data-dir '{}'", text.replace('\'', r"'\''")),
    }
}

/// What follows a message that nothing runs in `known`; empty if nothing runs elsewhere either.
pub fn hint(known: &Path) -> String {
    hint_of(&others(known))
}

fn hint_of(others: &[PathBuf]) -> String {
    let flags: Vec<String> = others.iter().map(|data| argument(data)).collect();
    match flags.is_empty() {
        true => String::new(),
        false => format!("; catamaran runs here with{}", flags.join(" and with")),
    }
}

/// Why a verb finds no master.
pub fn no_master(known: &Path) -> String {
    match hint(known) {
        none if none.is_empty() => {
            "no cluster runs on this machine: name the master with --master HOST:PORT".to_owned()
        }
        hint => format!("no cluster runs with the data directory {}{hint}", known.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::data_directory::{DataDirectory, running::RunningProcess};

    /// A process with this name that has opened this file.
    fn process(processes: &Path, id: u32, name: &str, file: &Path) {
        let process = processes.join(id.to_string());
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::write(process.join("comm"), format!("{name}\n")).unwrap();
        symlink(file, process.join("fd/9")).unwrap();
    }

    #[test]
    fn what_runs_with_other_data_directories_is_found() {
        let scratch = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(scratch.path()).unwrap();
        let (processes, own) = (root.join("proc"), root.join("own"));
        let mut locked = Vec::new();
        for (id, name, comm) in [(1, "own", "catamaran"), (2, "b", "catamaran"), (3, "a", "catamaran-1.2")] {
            let data = DataDirectory::open(&root.join(name)).unwrap();
            RunningProcess::new("up", &data.join("mesos-credentials")).write(&data).unwrap();
            process(&processes, id, comm, &data.join("lock"));
            locked.push(data);
        }
        process(&processes, 4, "catamaran", &root.join("ended/lock"));
        process(&processes, 5, "other", &root.join("b/lock"));
        assert_eq!(locked_by(&processes, &own), [root.join("a"), root.join("b")]);
        locked.truncate(2);
        assert_eq!(locked_by(&processes, &own), [root.join("b")], "an ended one has no lock");
        assert_eq!(locked_by(&root.join("none"), &own), [] as [PathBuf; 0]);
    }

    #[test]
    fn hints_name_the_flag() {
        assert_eq!(hint_of(&[]), "");
        assert_eq!(hint_of(&["/a".into()]), "; catamaran runs here with --data-dir /a");
        let two = hint_of(&["/a b".into(), "/it's".into()]);
        assert_eq!(two, r"; catamaran runs here with --data-dir '/a b' and with --data-dir '/it'\''s'");
    }
}
