//! Services on two machines: cluster IPs, node ports, session affinity and names lead to Pods of both. UDP flows leave endpoints that
//! are gone. Health checks, Pods on the host network, further ranges of cluster IPs.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::Context;
use e2e::{cluster::Cluster, network::Network, program::wait_for};
use serde_json::{Value, json};

const SERVICES: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {selector: {app: web}, sessionAffinity: ClientIP, ports: [{name: http, port: 81, targetPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: port}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, externalIPs: [198.51.100.7], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: web.default.svc.cluster.local}
"#;

const ON_THE_HOST: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: hosted, labels: {app: hosted}}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: "localhost/catamaran/example-web:1", command: ["sh", "-c", "echo here > /tmp/name; httpd -f -p 18097 -h /tmp"]}
---
apiVersion: v1
kind: Service
metadata: {name: hosted}
spec: {selector: {app: hosted}, ports: [{name: http, port: 80, targetPort: 18097}]}
---
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: further}
spec: {cidrs: [198.18.77.0/24]}
"#;
/// Asks the name server for the ports of a Service, and prints the numbers of records in the three sections of its answer.
const ASK_FOR_PORTS: &str = "import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
labels = '_http._tcp.hosted.default.svc.cluster.local'.split('.')
name = b''.join(bytes([len(l)]) + l.encode() for l in labels) + bytes(1)
s.sendto(struct.pack('!6H', 1, 256, 1, 0, 0, 0) + name + struct.pack('!2H', 33, 1), (sys.argv[1], 53))
print(*struct.unpack('!6H', s.recv(512)[:12])[3:], flush=True)";

/// Runs a script in a Pod of the Deployment.
fn in_pod(cluster: &Cluster, pod: &str, script: &str) -> anyhow::Result<String> {
    Ok(cluster.try_kubectl(&["exec", pod, "--", "sh", "-c", script])?.stdout)
}

#[test]
fn services_lead_to_pods_of_both_machines() -> anyhow::Result<()> {
    let network = Network::new()?;
    network.route("10.244.0.0/24", "10.244.1.0/24")?;
    let cluster = Cluster::on(&network, &[])?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=4"])?;
    let manifest = cluster.directory().join("services.yaml");
    std::fs::write(&manifest, SERVICES)?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    let pods =
        cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"])?;
    let pod = pods.split_whitespace().next().unwrap_or_default().to_owned();
    // Each Pod puts its name where its server shows it.
    for pod in pods.split_whitespace() {
        in_pod(&cluster, pod, "hostname > /tmp/name; httpd -p 8090 -h /tmp")?;
    }
    let patch = r#"{"spec": {"ports": [{"port": 80, "targetPort": 8090}]}}"#;
    for service in ["web", "port"] {
        cluster.kubectl(&["patch", "service", service, "-p", patch])?;
    }
    let patch = r#"{"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 8090}]}}"#;
    cluster.kubectl(&["patch", "service", "sticky", "-p", patch])?;

    // The names of the Pods that answer. A static busybox' wget cannot look names up.
    let many = |host: &str, port: u16| -> anyhow::Result<BTreeSet<String>> {
        let request = format!("printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port} | tail -n 1");
        let script = format!("for i in $(seq 24); do {request}; done");
        Ok(in_pod(&cluster, &pod, &script)?.lines().map(str::to_owned).collect())
    };
    wait_for("all four Pods behind the Service's name", Duration::from_secs(30), || {
        Ok((many("web", 80)?.len() == 4).then_some(()))
    })?;
    assert_eq!(many("sticky.default.svc.cluster.local", 81)?.len(), 1, "one client, one endpoint");
    assert_eq!(many("alias", 80)?.len(), 4);
    for address in [Network::FIRST, Network::SECOND] {
        assert_eq!(many(address, 30080)?.len(), 4, "{address}");
    }
    for address in ["nobody", "198.51.100.7"] {
        let refused = in_pod(&cluster, &pod, &format!("nc -w 5 {address} 80 < /dev/null 2>&1"))?;
        assert!(refused.contains("refused"), "{refused}");
    }
    // The API server, as programs in Pods reach it.
    let port = in_pod(
        &cluster,
        &pod,
        "echo $KUBERNETES_SERVICE_HOST; nc -w 5 $KUBERNETES_SERVICE_HOST 443 < /dev/null; echo $?",
    )?;
    assert_eq!(port, "10.96.0.1\n0\n");
    // Somebody flushes the rules. The node looks every ten seconds.
    let table = || -> anyhow::Result<Option<String>> {
        let rules = network.rules()?;
        let table = rules.lines().find(|line| line.starts_with("table ip catamaran-"));
        Ok(table.filter(|_| rules.contains("vmap @service-addresses")).map(str::to_owned))
    };
    let flushed = table()?;
    assert!(flushed.is_some());
    network.flush_rules("catamaran-")?;
    wait_for("another table", Duration::from_secs(60), || {
        Ok(table()?.filter(|new| Some(new) != flushed.as_ref()))
    })?;
    cluster.stop_and_assert_clean()
}

const UDP: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {ports: [{port: 9000, protocol: UDP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: "localhost/catamaran/example-web:1", command: ["sleep", "3600"]}]
"#;
/// Answers each datagram with a name.
const ECHO: &str = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 9000))
print('ready', flush=True)
while True:
    s.sendto(sys.argv[1].encode(), s.recvfrom(64)[1])";
/// Sends from one port for ever, and prints who answers when that changes.
const ASK: &str = "import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 9001))
s.settimeout(0.1)
last = None
while True:
    s.sendto(b'?', (sys.argv[1], 9000))
    try:
        name = s.recvfrom(64)[0].decode()
    except OSError:
        continue
    if name != last:
        print(name, flush=True)
    last = name
    time.sleep(0.05)";

/// A program of this machine in the network of a Pod.
struct InPodNetwork {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl InPodNetwork {
    fn start(pod: &str, script: &str, argument: &str) -> anyhow::Result<Self> {
        let variable = format!("HOSTNAME={pod}\0");
        let is_its = |entry: &std::fs::DirEntry| {
            let variables = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            memchr::memmem::find(&variables, variable.as_bytes()).is_some()
        };
        let mut processes = std::fs::read_dir("/proc")?.filter_map(Result::ok);
        let first = processes.find(is_its).with_context(|| format!("no process of {pod}"))?;
        let mut process = Command::new("nsenter")
            .arg(format!("--net={}", first.path().join("ns/net").display()))
            .args(["python3", "-c", script, argument])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(process.stdout.take().context("it has an output")?);
        let (sender, lines) = mpsc::sync_channel(64);
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).take_while(|line| sender.send(line.clone()).is_ok()).count()
        });
        Ok(InPodNetwork { process, lines })
    }

    fn next_line(&self) -> anyhow::Result<String> {
        Ok(self.lines.recv_timeout(Duration::from_secs(60))?)
    }
}

impl Drop for InPodNetwork {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_udp_client_that_goes_on_sending_reaches_a_live_endpoint() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    let manifest = cluster.directory().join("udp.yaml");
    std::fs::write(&manifest, UDP)?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"])?;
    let listed = cluster.json(&["get", "pods", "-l", "app=web", "-o", "json"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = listed["items"].as_array().into_iter().flatten();
    let mut pods: Vec<(String, String)> =
        pods.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"]))).collect();
    assert_eq!(pods.len(), 3);
    let mut servers = Vec::new();
    for (pod, _) in &pods {
        let server = InPodNetwork::start(pod, ECHO, pod)?;
        assert_eq!(server.next_line()?, "ready");
        servers.push(server);
    }
    endpoints(&cluster, &pods)?;
    let service = cluster.kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}"])?;
    let client = InPodNetwork::start("client", ASK, &service)?;
    // The endpoint that answers is taken away, while its server goes on answering.
    let first = client.next_line()?;
    pods.retain(|(pod, _)| *pod != first);
    endpoints(&cluster, &pods)?;
    let second = client.next_line()?;
    assert_ne!(second, first);
    // A Pod that ends with its endpoint.
    pods.retain(|(pod, _)| *pod != second);
    cluster.kubectl(&["delete", "pod", &second, "--grace-period=1"])?;
    endpoints(&cluster, &pods)?;
    let third = client.next_line()?;
    assert!(third != first && third != second, "{third}");
    drop((client, servers));
    cluster.stop_and_assert_clean()
}

/// Makes Pods, with their addresses, the endpoints of the Service.
fn endpoints(cluster: &Cluster, pods: &[(String, String)]) -> anyhow::Result<()> {
    let endpoints: Vec<Value> = pods.iter().map(|(_, address)| json!({"addresses": [address]})).collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "echo", "labels": {"kubernetes.io/service-name": "echo"}},
        "ports": [{"port": 9000, "protocol": "UDP", "name": ""}], "endpoints": endpoints,
    });
    let file = cluster.directory().join("slice.json");
    std::fs::write(&file, slice.to_string())?;
    cluster.kubectl(&["apply", "-f", &file.to_string_lossy()]).map(drop)
}

/// The status line's code and the body of an answer to a load balancer's question; `None` if nobody listens.
fn health(address: &str, port: u64) -> Option<(String, Value)> {
    let mut stream = TcpStream::connect((address, u16::try_from(port).ok()?)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.to_owned(), serde_json::from_str(body).ok()?))
}

#[test]
fn pods_on_the_host_network_health_checks_and_further_ranges() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    let manifest = cluster.directory().join("host.yaml");
    std::fs::write(&manifest, ON_THE_HOST)?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/hosted", "--timeout=60s"])?;
    let hosted = cluster.json(&["get", "pod", "hosted", "-o", "json"])?;
    let host = hosted["status"]["hostIP"].as_str().context("it has a host")?.to_owned();
    assert!(hosted["status"]["podIP"] == host.as_str() && !host.starts_with("127."), "{host}");
    let pods =
        cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"])?;
    let pod = pods.split_whitespace().next().context("there is one")?.to_owned();
    let request = "printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 5 hosted 80 | tail -n 1";
    wait_for("the Pod on the host network behind its Service", Duration::from_secs(30), || {
        Ok((in_pod(&cluster, &pod, request)? == "here\n").then_some(()))
    })?;
    // The port, and the address of what serves it.
    let server = in_pod(&cluster, &pod, "sed -n 's/^nameserver //p' /etc/resolv.conf")?;
    let asking = InPodNetwork::start(&pod, ASK_FOR_PORTS, server.trim())?;
    assert_eq!(asking.next_line()?, "1 0 1");
    // An address of the further range that is no Service's.
    wait_for("the further range", Duration::from_secs(30), || {
        let refused = in_pod(&cluster, &pod, "nc -w 2 198.18.77.9 80 < /dev/null 2>&1 || true")?;
        Ok(refused.contains("refused").then_some(()))
    })?;

    let balanced = cluster.json(&["get", "service", "balanced", "-o", "json"])?;
    let port = balanced["spec"]["healthCheckNodePort"].as_u64().context("it has a port")?;
    let says = |code: &str, endpoints: u64| {
        wait_for("the health check", Duration::from_secs(30), || {
            let found = health(&host, port);
            Ok(found.filter(|(found, body)| found == code && body["localEndpoints"] == endpoints))
        })
    };
    let (_, body) = says("200", 3)?;
    assert_eq!(body["service"], json!({"namespace": "default", "name": "balanced"}));
    cluster.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    says("503", 0)?;
    cluster.kubectl(&["delete", "service", "balanced"])?;
    wait_for("the port to be closed", Duration::from_secs(30), || {
        Ok(health(&host, port).is_none().then_some(()))
    })?;
    drop(asking);
    cluster.stop_and_assert_clean()
}
