//! The test suite of the runtime trait.

use std::{sync::Arc, time::Duration};

use cri::v1;
use kubelet_executor::runtime::{Runtime, fake::FakeRuntime};

/// Runs the suite. `image` is on the node and has a shell; the sandbox's cgroup is below `cgroup_parent`.
pub async fn suite(runtime: Arc<dyn Runtime>, image: &str, cgroup_parent: &str) {
    let labels = vec![("suite".to_owned(), "yes".to_owned())];
    let own: std::collections::BTreeMap<String, String> = labels.iter().cloned().collect();
    let logs = tempfile::tempdir().unwrap();
    std::fs::create_dir(logs.path().join("c")).unwrap();
    let metadata =
        v1::PodSandboxMetadata { name: "p".into(), uid: "u".into(), namespace: "ns".into(), attempt: 0 };
    let sandbox_config = v1::PodSandboxConfig {
        metadata: Some(metadata),
        hostname: "p".to_owned(),
        log_directory: logs.path().display().to_string(),
        labels: own.clone(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let unknown = runtime.run_sandbox(sandbox_config.clone(), "absent").await.unwrap_err();
    assert!(unknown.message.contains("no runtime for \"absent\" is configured"), "{unknown}");
    let sandbox = runtime.run_sandbox(sandbox_config.clone(), "").await.unwrap();
    assert!(runtime.run_sandbox(sandbox_config.clone(), "").await.is_err(), "a name is taken once");
    let status = runtime.sandbox_status(&sandbox).await.unwrap();
    assert!(!status.network.unwrap().ip.is_empty());
    assert!(runtime.image(image).await.unwrap().is_some());
    assert!(runtime.image("localhost/absent:1").await.unwrap().is_none());

    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"].map(str::to_owned).to_vec(),
        log_path: "c/0.log".to_owned(),
        labels: own,
        annotations: [("kept".to_owned(), "1".to_owned())].into(),
        linux: Some(v1::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let container = runtime.create(&sandbox, config.clone(), sandbox_config.clone()).await.unwrap();
    assert!(runtime.create(&sandbox, config, sandbox_config).await.is_err(), "a name is taken once");
    runtime.start(&container).await.unwrap();
    assert!(runtime.start(&container).await.is_err(), "a container is started once");
    let (sandboxes, containers) = runtime.list(&labels).await.unwrap();
    assert_eq!((sandboxes.len(), containers.len()), (1, 1));
    assert_eq!(containers[0].state, v1::ContainerState::ContainerRunning as i32);
    let other = vec![("suite".to_owned(), "no".to_owned())];
    assert!(runtime.list(&other).await.unwrap().0.is_empty());
    let command = |text: &str| vec![text.to_owned()];
    assert_eq!(
        runtime.exec(&container, &command("true"), Duration::from_secs(5)).await.unwrap().exit_code,
        0
    );
    assert_eq!(
        runtime.exec(&container, &command("false"), Duration::from_secs(5)).await.unwrap().exit_code,
        1
    );

    runtime.stop(&container, Duration::from_secs(5)).await.unwrap();
    runtime.stop(&container, Duration::ZERO).await.unwrap();
    let status = runtime.container_status(&container).await.unwrap();
    assert_eq!(status.state, v1::ContainerState::ContainerExited as i32);
    assert_eq!(status.annotations.get("kept").map(String::as_str), Some("1"));
    assert!(status.finished_at > 0);
    runtime.remove(&container).await.unwrap();
    runtime.remove(&container).await.unwrap();
    assert!(runtime.container_status(&container).await.unwrap_err().is_not_found());
    runtime.remove_sandbox(&sandbox).await.unwrap();
    runtime.remove_sandbox(&sandbox).await.unwrap();
    assert!(runtime.list(&labels).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn the_fake_runtime() {
    suite(Arc::new(FakeRuntime::default()), "i:1", "").await;
}
