//! Persistent volumes of real tasks, over a crash of the agent.

use std::fs;

use kernel_model::{
    labels::Labels,
    resources::{
        ConversionKind::{self, *},
        Disk, Persistence, Reservation, ReservationKind, Resource, Resources, VolumeMount,
    },
    roles::Role,
    scheduler::Operation,
    task::{TaskInfo, TaskState::*},
};

use super::cluster::Cluster;

fn reserved() -> Resources {
    let level = Reservation {
        kind: ReservationKind::Dynamic,
        role: Role::parse("tests").unwrap(),
        principal: None,
        labels: Labels::default(),
    };
    let plain: Resources = "disk:32".parse().unwrap();
    plain.iter().map(|one| Resource { reservations: vec![level.clone()], ..one.clone() }).collect()
}

fn volume(container_path: &str) -> Resources {
    let disk = Disk {
        source: None,
        persistence: Some(Persistence { id: "v".into(), principal: None }),
        volume: Some(VolumeMount { container_path: container_path.into(), read_only: false }),
    };
    reserved().iter().map(|one| Resource { disk: Some(disk.clone().into()), ..one.clone() }).collect()
}

fn operation(kind: ConversionKind, resources: Resources) -> Operation {
    Operation::Convert { id: None, kind, resources }
}

fn on_volume(line: &str, container_path: &str) -> impl FnOnce(&mut TaskInfo) {
    move |task| {
        task.command.as_mut().unwrap().value = Some(line.to_owned());
        task.resources = volume(container_path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_keeps_its_files_for_the_next_task_until_it_is_destroyed() {
    let mut cluster = Cluster::start().await;
    let directory = std::path::Path::new(&cluster.directory()).join("volumes/roles/tests/v");
    cluster.launch_with("writer", on_volume("echo kept > data/file", "data"));
    let operations = vec![operation(Reserve, reserved()), operation(Create, volume("data"))];
    cluster.flush_after(&"disk:40".parse().unwrap(), operations).await;
    assert_eq!(cluster.states_until_end("writer").await, [Starting, Running, Finished]);
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "kept\n");

    // So that no offer is under way that the crash withdraws.
    cluster.wait_for_offer(&volume("data")).await;
    cluster.crash_agent().await;
    cluster.restart_agent().await;
    cluster.launch_with("reader", on_volume("cat deep/er/file", "deep/er"));
    cluster.flush_after(&volume("data"), Vec::new()).await;
    assert_eq!(cluster.states_until_end("reader").await, [Starting, Running, Finished]);
    let read = fs::read_to_string(cluster.sandbox("reader").join("stdout")).unwrap();
    assert!(read.ends_with("kept\n"), "{read}");

    let operations = vec![operation(Destroy, volume("data")), operation(Unreserve, reserved())];
    cluster.launch_with("last", |task| task.command.as_mut().unwrap().value = Some("true".into()));
    cluster.flush_after(&volume("data"), operations).await;
    assert_eq!(cluster.states_until_end("last").await, [Starting, Running, Finished]);
    assert!(!directory.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_cannot_be_made_is_reserved_disk_again() {
    let mut cluster = Cluster::start().await;
    let volumes = std::path::Path::new(&cluster.directory()).join("volumes");
    fs::create_dir_all(&volumes).unwrap();
    fs::write(volumes.join("roles"), "in the way").unwrap();
    cluster.launch_with("writer", on_volume("true", "data"));
    let operations = vec![operation(Reserve, reserved()), operation(Create, volume("data"))];
    cluster.flush_after(&"disk:40".parse().unwrap(), operations).await;
    assert_eq!(cluster.states_until_end("writer").await.last(), Some(&Failed));
    cluster.wait_for_offer(&reserved()).await;
}
