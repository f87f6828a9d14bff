//! One suite for both containerizers. Containers of images have a stand-in for the machine's container runtime: its process runs
//! the program itself. (`e2e` has the real one.)

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use kernel_model::{container::ContainerNetwork, ids::ContainerId};

use super::*;
use crate::{
    images::{
        ContainerCommands, ContainerFailure, ContainerLimits, ContainerProgram, ImageRuntime,
        RunningContainer, WorkingDirectory,
    },
    runtime::{container, environment::PATH, images::ImageContainers, processes::Processes, sandbox::Paths},
};

/// The timeout of every wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A machine with a containerizer, which can be started again.
struct Machine {
    directory: tempfile::TempDir,
    images: Option<Arc<StandIn>>,
}

/// Runs the program of a container as a process.
#[derive(Debug, Default)]
struct StandIn {
    recorded: Mutex<BTreeSet<ContainerId>>,
    failure: Mutex<Option<ContainerFailure>>,
}

#[async_trait]
impl ImageRuntime for StandIn {
    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    async fn unavailable(&self) -> Option<String> {
        None
    }

    fn prepare(&self, container: &ImageContainerConfig) -> io::Result<ContainerCommands> {
        self.recorded.lock().unwrap().insert(container.container_id.clone());
        let ContainerProgram::Own(run) = container.program.clone() else {
            return Err(io::ErrorKind::Other.into());
        };
        Ok(ContainerCommands {
            run,
            running: PathBuf::new(),
            failed: PathBuf::new(),
            exec: Vec::new(),
            environment: vec![("PATH".into(), PATH.into()), ("RUNNER".into(), "1".into())],
        })
    }

    fn running(&self, _: &ContainerId) -> Option<RunningContainer> {
        None
    }

    fn failure(&self, _: &ContainerId) -> Option<ContainerFailure> {
        self.failure.lock().unwrap().clone()
    }

    async fn set_limits(&self, _: &ContainerId, _: ContainerLimits) {}

    fn revocable_pods_cpu_seconds(&self) -> Option<f64> {
        None
    }

    fn usage(&self, _: &ContainerId) -> Option<ContainerUsage> {
        Some(ContainerUsage { cpu_seconds: 1.0, memory_bytes: 2, ..Default::default() })
    }

    fn recorded(&self) -> Vec<ContainerId> {
        self.recorded.lock().unwrap().iter().cloned().collect()
    }

    async fn remove(&self, container_id: &ContainerId) {
        self.recorded.lock().unwrap().remove(container_id);
    }

    fn close(&self) {}
}

impl Machine {
    /// One with processes, and one with containers of images.
    fn both() -> [Self; 2] {
        [None, Some(Arc::default())].map(|images| Self { directory: tempfile::tempdir().unwrap(), images })
    }

    fn paths(&self) -> Paths {
        Paths::new(self.directory.path().to_owned())
    }

    /// The containerizer of a new agent.
    fn start(&self) -> Arc<dyn Containerizer> {
        let binary = PathBuf::from("/nowhere");
        match &self.images {
            Some(images) => Arc::new(ImageContainers::new(self.paths(), binary, images.clone(), false)),
            None => Arc::new(Processes::new(self.paths(), binary, false)),
        }
    }

    fn launch(&self, id: &str, line: &str) -> Launch {
        let arguments = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
        let sandbox = Sandbox::create(&self.directory.path().join("runs"), &id.into(), None).unwrap();
        let image = self.images.as_ref().map(|_| {
            ImageUse::Inside(Box::new(ImageContainerConfig {
                container_id: id.into(),
                image: "a:1".into(),
                force_pull: false,
                program: ContainerProgram::Own(arguments.clone()),
                environment: Vec::new(),
                directory: WorkingDirectory::Image,
                user: None,
                sandbox: sandbox.path().to_owned(),
                mounts: Vec::new(),
                network: ContainerNetwork::Host,
                read_only: false,
                limits: None,
            }))
        });
        let environment = vec![("PATH".to_owned(), PATH.to_owned())];
        Launch {
            path: ContainerPath::root(id.into()),
            plan: LaunchPlan { arguments, environment, owner: None, user: None, enters: None },
            sandbox,
            directory: None,
            limits: None,
            keeps_children: false,
            streams: Streams::Files,
            is_supervised: false,
            surroundings: Surroundings { user: "u".into(), ..Surroundings::default() },
            image,
            stop: CancellationToken::new(),
        }
    }

    fn sandbox(&self, id: &str) -> PathBuf {
        self.directory.path().join("runs").join(id)
    }
}

async fn ended(containers: &dyn Containerizer, path: &ContainerPath) -> Option<Termination> {
    tokio::time::timeout(TIMEOUT, containers.wait(path)).await.expect("the container ends in time")
}

async fn wait_for(file: &Path) -> String {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            Ok(_) | Err(_) => {
                assert!(tokio::time::Instant::now() < deadline, "waited for {}", file.display())
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_known_until_it_is_removed() {
    for machine in Machine::both() {
        let containers = machine.start();
        let path = ContainerPath::root("c1".into());
        assert_eq!(containers.wait(&path).await, None);
        assert_eq!(containers.status(&path), None);
        assert!(!containers.kill(&path, Signal::TERM).unwrap());
        containers.launch(machine.launch("c1", "echo out; echo err >&2; exit 3")).await.unwrap();
        assert_eq!(containers.containers(), std::slice::from_ref(&path));
        let termination = ended(&*containers, &path).await.unwrap();
        assert_eq!((termination.status, termination.exceeded), (Some(3 << 8), None));
        assert_eq!(ended(&*containers, &path).await.unwrap().status, Some(3 << 8), "whoever asks later");
        let read = |name| fs::read_to_string(machine.sandbox("c1").join(name)).unwrap();
        assert_eq!((read("stdout"), read("stderr")), ("out\n".to_owned(), "err\n".to_owned()));
        containers.remove(&path).await;
        assert_eq!(containers.wait(&path).await, None);
        containers.remove(&path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_first_process_and_an_end_reaches_all() {
    for machine in Machine::both() {
        let containers = machine.start();
        let path = ContainerPath::root("c1".into());
        let line = "trap 'kill %1; exit 9' TERM; sleep 1000 & echo ready; wait";
        containers.launch(machine.launch("c1", line)).await.unwrap();
        wait_for(&machine.sandbox("c1").join("stdout")).await;
        assert!(containers.kill(&path, Signal::TERM).unwrap());
        assert_eq!(ended(&*containers, &path).await.unwrap().status, Some(9 << 8));
        let other = ContainerPath::root("c2".into());
        let line = "trap '' TERM; sleep 1000 & echo $!; wait; wait";
        containers.launch(machine.launch("c2", line)).await.unwrap();
        let child: i32 = wait_for(&machine.sandbox("c2").join("stdout")).await.trim().parse().unwrap();
        let child = Process::find(child).unwrap();
        containers.destroy(&other);
        assert_eq!(ended(&*containers, &other).await.unwrap().status, Some(9), "SIGKILL");
        assert!(!child.is_alive());
        for path in [path, other] {
            containers.remove(&path).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_their_agent() {
    for machine in Machine::both() {
        let first = machine.start();
        let line = "echo ready; until test -e go; do sleep 0.02; done";
        for id in ["runs", "ends"] {
            first.launch(machine.launch(id, line)).await.unwrap();
            wait_for(&machine.sandbox(id).join("stdout")).await;
        }
        let [runs, ends] = ["runs", "ends"].map(|id| ContainerPath::root(id.into()));
        let process = first.status(&ends).unwrap().process;
        drop(first);
        fs::write(machine.sandbox("ends").join("go"), "").unwrap();
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while process.is_alive() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let second = machine.start();
        let recovered = second.recover();
        assert_eq!((recovered.live, recovered.ended), (vec![runs.clone()], vec![ends.clone()]));
        let status = second.status(&runs).unwrap();
        assert_eq!((status.surroundings.user.as_str(), status.sandbox), ("u", machine.sandbox("runs")));
        fs::write(machine.sandbox("runs").join("go"), "").unwrap();
        assert_eq!(ended(&*second, &runs).await.unwrap().status, None, "it is no child of this agent");
        for path in [&runs, &ends] {
            second.remove(path).await;
            container::forget(&machine.paths(), path.root_id());
        }
        assert_eq!(machine.start().recover(), Recovered::default());
        if let Some(images) = &machine.images {
            assert_eq!(images.recorded(), []);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_is_stopped_leaves_nothing() {
    for machine in Machine::both() {
        let containers = machine.start();
        let launch = machine.launch("c1", "touch ran; sleep 1000");
        launch.stop.cancel();
        let path = launch.path.clone();
        assert!(matches!(containers.launch(launch).await, Err(LaunchError::Destroyed)));
        assert_eq!((containers.containers(), containers.wait(&path).await), (Vec::new(), None));
        assert!(!machine.sandbox("c1").join("ran").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_supervised_containers_can_be_attached_to() {
    for machine in Machine::both() {
        let containers = machine.start();
        let path = ContainerPath::root("c1".into());
        let why = |result: Result<UnixStream, AttachError>| result.unwrap_err().to_string();
        assert_eq!(why(containers.attach(&path).await), "Unknown container c1");
        containers.launch(machine.launch("c1", "sleep 1000")).await.unwrap();
        let disabled = "I/O switchboard server was disabled for this container";
        assert_eq!(why(containers.attach(&path).await), disabled);
        containers.remove(&path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_runtime_adds_what_it_knows() {
    let [_, machine] = Machine::both();
    let containers = machine.start();
    let path = ContainerPath::root("c1".into());
    containers.launch(machine.launch("c1", "test $RUNNER = 1")).await.unwrap();
    assert_eq!(ended(&*containers, &path).await.unwrap().status, Some(0), "it has the variables of a runner");
    assert_eq!(containers.usage(&path).map(|usage| usage.memory_bytes), Some(2));
    let images = machine.images.as_ref().unwrap();
    *images.failure.lock().unwrap() = Some(ContainerFailure::NotStarted("why".into()));
    assert_eq!(ended(&*containers, &path).await.unwrap().not_started.as_deref(), Some("why"));
    let limits = ContainerLimits { cpu_shares: 2, memory_bytes: 32 << 20 };
    *images.failure.lock().unwrap() = Some(ContainerFailure::MemoryExceeded(limits));
    let exceeded = ended(&*containers, &path).await.unwrap().exceeded.unwrap();
    assert_eq!(exceeded.message(), "Memory limit exceeded: Requested: 32MB");
    containers.remove(&path).await;
}
