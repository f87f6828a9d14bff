//! Tasks and executors in containers of images.

use expect_test::expect;
use kernel_model::{
    agent::{AgentInfo, ToMaster},
    container::{ContainerKind, ContainerNetwork, DockerParameters, ImageContainer, PortMapping},
    scheduler::Operation,
    task::TaskInfo,
};

use super::cluster::*;

fn image(network: ContainerNetwork) -> ImageContainer {
    ImageContainer {
        kind: ContainerKind::Docker,
        image: "a:1".into(),
        force_pull: false,
        volumes: Vec::new(),
        network,
        parameters: DockerParameters::default(),
    }
}

fn in_image(id: &str, resources: &str, network: ContainerNetwork) -> TaskInfo {
    TaskInfo { image: Some(image(network).into()), ..task(id, "m-S0", resources) }
}

fn launched(runs_images: bool, tasks: Vec<TaskInfo>) -> String {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    let info = AgentInfo { runs_images, ..agent_info(1, "cpus:4;mem:1024;ports:[1-10]") };
    c.connect(1, ToMaster::Register { info: info.into() });
    c.log();
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    c.log()
}

#[test]
fn an_agent_without_a_container_runtime_gets_no_images() {
    let mut with_image = executor("e", "cpus:0.1");
    with_image.image = Some(image(ContainerNetwork::Host).into());
    let tasks = || {
        vec![
            in_image("t", "cpus:0.1", ContainerNetwork::Host),
            on_executor(task("u", "m-S0", "cpus:0.1"), with_image.clone()),
            task("plain", "m-S0", "cpus:0.1"),
        ]
    };
    expect![[r#"
        reply Accepted
        s1 <- Update t Error by Master TaskInvalid 'Agent m-S0 at h1 cannot run image 'a:1': it has no container runtime'
        s1 <- Update u Error by Master TaskInvalid 'Agent m-S0 at h1 cannot run image 'a:1': it has no container runtime'
        l1 <- RunTask task plain on new command
    "#]]
    .assert_eq(&launched(false, tasks()));
    expect![[r#"
        reply Accepted
        l1 <- RunTask task t on new command
        l1 <- RunTask task u on new e
        l1 <- RunTask task plain on new command
    "#]]
    .assert_eq(&launched(true, tasks()));
}

#[test]
fn an_agent_whose_container_runtime_is_away_gets_no_images_until_it_is_back() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    let info = AgentInfo { runs_images: true, ..agent_info(1, "cpus:4;mem:1024") };
    c.connect(1, ToMaster::Register { info: info.into() });
    c.send_message(1, ToMaster::ContainerRuntime { failure: Some("it is away".into()) });
    c.log();
    let tasks = vec![in_image("t", "cpus:0.1", ContainerNetwork::Host), task("plain", "m-S0", "cpus:0.1")];
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    expect![[r#"
        reply Accepted
        s1 <- Update t Error by Master TaskInvalid 'Agent m-S0 at h1 cannot run image 'a:1': it is away'
        l1 <- RunTask task plain on new command
    "#]]
    .assert_eq(&c.log());
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    let info = AgentInfo { runs_images: true, ..agent_info(1, "cpus:4;mem:1024") };
    c.connect(1, ToMaster::Register { info: info.into() });
    for failure in [Some("it is away".to_owned()), None] {
        c.send_message(1, ToMaster::ContainerRuntime { failure });
    }
    c.log();
    let tasks = vec![in_image("t", "cpus:0.1", ContainerNetwork::Host)];
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    expect![[r#"
        reply Accepted
        l1 <- RunTask task t on new command
    "#]]
    .assert_eq(&c.log());
}

#[test]
fn mapped_ports_are_those_of_the_task() {
    let mapped =
        |host_port| ContainerNetwork::Bridge(vec![PortMapping { host_port, container_port: 80, udp: false }]);
    let tasks = vec![
        in_image("none", "cpus:0.1", mapped(3)),
        in_image("other", "cpus:0.1;ports:[4-5]", mapped(3)),
        in_image("own", "cpus:0.1;ports:[2-3]", mapped(3)),
        in_image("unmapped", "cpus:0.1", ContainerNetwork::Bridge(Vec::new())),
    ];
    expect![[r#"
        reply Accepted
        s1 <- Update none Error by Master TaskInvalid 'Port mappings require port resources'
        s1 <- Update other Error by Master TaskInvalid 'Port [3] not included in resources'
        l1 <- RunTask task own on new command
        l1 <- RunTask task unmapped on new command
    "#]]
    .assert_eq(&launched(true, tasks));
}
