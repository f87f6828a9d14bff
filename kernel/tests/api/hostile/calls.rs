//! Calls on a stream: malformed ones, and well-formed ones about what is not the caller's.

use expect_test::expect;
use serde_json::{Value, json};

use super::{Suspect, launch, scalar, task, with_neighbour};

type Row = (&'static str, &'static str, Value);

fn accept(offer: &Value, operations: Value) -> Value {
    json!({"accept": {"offer_ids": [offer["id"]], "operations": operations, "filters": {"refuse_seconds": 0}}})
}

/// A LAUNCH of one task with these resources.
fn launch_with(offer: &Value, resources: Value) -> Value {
    let mut one = task("t", &offer["agent_id"], "");
    one["resources"] = resources;
    accept(offer, launch(&[one]))
}

fn ranges(pairs: &[(u64, u64)]) -> Value {
    let pairs: Vec<Value> = pairs.iter().map(|(begin, end)| json!({"begin": begin, "end": end})).collect();
    json!([{"name": "ports", "type": "RANGES", "ranges": {"range": pairs}}])
}

fn amount(value: f64) -> Value {
    json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": value}}])
}

fn task_ids(offer: &Value) -> Vec<Row> {
    let agent = &offer["agent_id"];
    let one = |id: &str| accept(offer, launch(&[task(id, agent, "cpus:0.1;mem:32")]));
    let twice = [task("same", agent, "cpus:0.1;mem:32"), task("same", agent, "cpus:0.1;mem:32")];
    let elsewhere = task("elsewhere", &json!({"value": "no-such-agent"}), "cpus:0.1;mem:32");
    vec![
        ("an empty id", "ACCEPT", one("")),
        ("an id of 256 characters", "ACCEPT", one(&"x".repeat(256))),
        ("an id of a megabyte", "ACCEPT", one(&"x".repeat(1 << 20))),
        ("an id with a slash", "ACCEPT", one("../../etc")),
        ("an id that is a directory", "ACCEPT", one("..")),
        ("an id with control characters", "ACCEPT", one("a\u{7}b\n")),
        ("one id twice", "ACCEPT", accept(offer, launch(&twice))),
        ("another agent", "ACCEPT", accept(offer, launch(&[elsewhere]))),
        ("neither command nor executor", "ACCEPT", {
            let mut bare = task("bare", agent, "cpus:0.1;mem:32");
            bare.as_object_mut().expect("an object").remove("command");
            accept(offer, launch(&[bare]))
        }),
        ("labels of three megabytes", "ACCEPT", {
            let mut labelled = task("labelled", agent, "cpus:0.1;mem:32");
            labelled["labels"] = json!({"labels": [{"key": "k", "value": "v".repeat(3 << 20)}]});
            accept(offer, launch(&[labelled]))
        }),
        ("an executor of another framework", "ACCEPT", {
            let mut foreign = task("foreign", agent, "cpus:0.1;mem:32");
            foreign.as_object_mut().expect("an object").remove("command");
            let command = json!({"value": "true"});
            foreign["executor"] = json!({"executor_id": {"value": "e"}, "framework_id": {"value": "other"}, "command": command});
            accept(offer, launch(&[foreign]))
        }),
    ]
}

fn amounts(offer: &Value) -> Vec<Row> {
    let with = |resources: Value| launch_with(offer, resources);
    let many: Vec<Value> = (0..5000).map(|n| scalar(&format!("name-{n}:1"))).collect();
    vec![
        ("nothing", "ACCEPT", with(json!([]))),
        ("zero", "ACCEPT", with(amount(0.0))),
        ("less than nothing", "ACCEPT", with(amount(-1.0))),
        ("less than a thousandth", "ACCEPT", with(amount(1e-9))),
        ("1e308", "ACCEPT", with(amount(1e308))),
        (
            "infinite",
            "ACCEPT",
            with(json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": "Infinity"}}])),
        ),
        ("more than there is", "ACCEPT", with(amount(1e6))),
        ("twice the same, more than there is", "ACCEPT", with(json!([scalar("cpus:3"), scalar("cpus:3")]))),
        ("what nobody has", "ACCEPT", with(json!([scalar("unobtainium:1")]))),
        ("half a GPU", "ACCEPT", with(json!([scalar("gpus:0.5")]))),
        ("no name", "ACCEPT", with(json!([scalar(":1")]))),
        ("no value", "ACCEPT", with(json!([{"name": "cpus", "type": "SCALAR"}]))),
        ("two kinds of value", "ACCEPT", {
            with(json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "set": {"item": ["a"]}}]))
        }),
        ("a text", "ACCEPT", with(json!([{"name": "cpus", "type": "TEXT"}]))),
        ("ranges that overlap", "ACCEPT", with(ranges(&[(31000, 31010), (31005, 31020)]))),
        ("a range backwards", "ACCEPT", with(ranges(&[(31010, 31000)]))),
        ("all numbers", "ACCEPT", with(ranges(&[(0, u64::MAX)]))),
        ("the last number", "ACCEPT", with(ranges(&[(u64::MAX, u64::MAX), (0, 0)]))),
        ("2^64", "ACCEPT", {
            with(
                json!([{"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 18446744073709551616.0}]}}]),
            )
        }),
        (
            "a set with doubles",
            "ACCEPT",
            with(json!([{"name": "s", "type": "SET", "set": {"item": ["a", "a"]}}])),
        ),
        ("5000 names", "ACCEPT", with(json!(many))),
        ("a role that is none", "ACCEPT", {
            with(
                json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "allocation_info": {"role": "../x"}}]),
            )
        }),
        ("another's role", "ACCEPT", {
            with(
                json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "allocation_info": {"role": "quiet"}}]),
            )
        }),
    ]
}

/// An operation on one resource.
fn convert(offer: &Value, kind: &str, resource: Value) -> Value {
    let part = match kind {
        "CREATE" | "DESTROY" => "volumes",
        _ => "resources",
    };
    let content = json!({part: [resource]});
    accept(offer, json!([{"type": kind, "id": {"value": "o"}, kind.to_lowercase(): content}]))
}

fn reserved(role: &str, principal: Option<&str>, cpus: f64) -> Value {
    let mut reservation = json!({"type": "DYNAMIC", "role": role});
    if let Some(principal) = principal {
        reservation["principal"] = json!(principal);
    }
    json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}, "reservations": [reservation]})
}

fn volume(id: &str, path: &str, extra: Value) -> Value {
    let mut volume = json!({
        "name": "disk", "type": "SCALAR", "scalar": {"value": 10},
        "reservations": [{"type": "DYNAMIC", "role": "loud", "principal": "test"}],
        "disk": {"persistence": {"id": id, "principal": "test"}, "volume": {"mode": "RW", "container_path": path}},
    });
    volume.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    volume
}

fn operations(offer: &Value) -> Vec<Row> {
    let convert = |kind, resource| convert(offer, kind, resource);
    let labels = json!({"labels": [{"key": "k", "value": "v".repeat(1 << 20)}]});
    let mut labelled = reserved("loud", Some("test"), 1.0);
    labelled["reservations"][0]["labels"] = labels;
    let refined = |first: &str, second: &str| {
        let mut refined = reserved(first, Some("test"), 1.0);
        let more = json!({"type": "DYNAMIC", "role": second, "principal": "test"});
        refined["reservations"].as_array_mut().expect("a list").push(more);
        refined
    };
    vec![
        ("RESERVE for another role", "ACCEPT", convert("RESERVE", reserved("quiet", Some("test"), 1.0))),
        ("RESERVE for all", "ACCEPT", convert("RESERVE", reserved("*", Some("test"), 1.0))),
        ("RESERVE for no role", "ACCEPT", convert("RESERVE", reserved("a//b", Some("test"), 1.0))),
        ("RESERVE as somebody else", "ACCEPT", convert("RESERVE", reserved("loud", Some("root"), 1.0))),
        ("RESERVE as nobody", "ACCEPT", convert("RESERVE", reserved("loud", None, 1.0))),
        (
            "RESERVE of more than is offered",
            "ACCEPT",
            convert("RESERVE", reserved("loud", Some("test"), 100.0)),
        ),
        ("RESERVE of nothing", "ACCEPT", convert("RESERVE", reserved("loud", Some("test"), 0.0))),
        ("RESERVE upwards", "ACCEPT", convert("RESERVE", refined("loud/a", "loud"))),
        ("RESERVE in another tree", "ACCEPT", convert("RESERVE", refined("quiet", "loud"))),
        ("RESERVE with labels of a megabyte", "ACCEPT", convert("RESERVE", labelled)),
        (
            "UNRESERVE of what is not reserved",
            "ACCEPT",
            convert("UNRESERVE", reserved("loud", Some("test"), 1.0)),
        ),
        ("CREATE without reservation", "ACCEPT", convert("CREATE", volume("v", "p", json!({})))),
        ("CREATE outside of the sandbox", "ACCEPT", convert("CREATE", volume("v", "/etc", json!({})))),
        ("CREATE with an id that is a path", "ACCEPT", convert("CREATE", volume("../v", "p", json!({})))),
        ("CREATE of cpus", "ACCEPT", convert("CREATE", volume("v", "p", json!({"name": "cpus"})))),
        ("CREATE of a shared volume", "ACCEPT", convert("CREATE", volume("v", "p", json!({"shared": {}})))),
        ("DESTROY of nothing", "ACCEPT", convert("DESTROY", volume("v", "p", json!({})))),
        ("an unknown operation", "ACCEPT", accept(offer, json!([{"type": "UNKNOWN", "id": {"value": "o"}}]))),
        (
            "an operation of the future",
            "ACCEPT",
            accept(offer, json!([{"type": "FROM_THE_FUTURE", "id": {"value": "o"}}])),
        ),
        ("CREATE_DISK", "ACCEPT", {
            let content = json!({"source": volume("v", "p", json!({})), "target_type": "MOUNT"});
            accept(offer, json!([{"type": "CREATE_DISK", "id": {"value": "o"}, "create_disk": content}]))
        }),
        (
            "an operation without its part",
            "ACCEPT",
            accept(offer, json!([{"type": "RESERVE", "id": {"value": "o"}}])),
        ),
        ("an id of 5000 characters", "ACCEPT", {
            let content = json!({"resources": [reserved("loud", Some("test"), 1.0)]});
            accept(offer, json!([{"type": "RESERVE", "id": {"value": "o".repeat(5000)}, "reserve": content}]))
        }),
        ("LAUNCH with an id", "ACCEPT", {
            let mut operations = launch(&[task("t", &offer["agent_id"], "cpus:0.1;mem:32")]);
            operations[0]["id"] = json!({"value": "o"});
            accept(offer, operations)
        }),
    ]
}

fn offers(offer: &Value) -> Vec<Row> {
    let ids = |ids: Value| {
        let tasks = launch(&[task("t", &offer["agent_id"], "cpus:0.1;mem:32")]);
        json!({"accept": {"offer_ids": ids, "operations": tasks}})
    };
    let id = &offer["id"];
    let text = id["value"].as_str().expect("an id");
    vec![
        ("no offer", "ACCEPT", ids(json!([]))),
        ("an offer twice", "ACCEPT", ids(json!([id, id]))),
        ("an unknown offer", "ACCEPT", ids(json!([{"value": "x"}]))),
        ("an offer of the future", "ACCEPT", ids(json!([{"value": format!("{text}999")}]))),
        ("an offer and an unknown one", "ACCEPT", ids(json!([id, {"value": "x"}]))),
        (
            "an offer with a zero before its number",
            "ACCEPT",
            ids(json!([{"value": text.replace("-O", "-O0")}])),
        ),
        ("an offer of 2^64", "ACCEPT", ids(json!([{"value": format!("{text}99999999999999999999")}]))),
        ("DECLINE of an unknown offer", "DECLINE", json!({"decline": {"offer_ids": [{"value": "x"}]}})),
        (
            "DECLINE for ever",
            "DECLINE",
            json!({"decline": {"offer_ids": [], "filters": {"refuse_seconds": 1e308}}}),
        ),
        ("DECLINE for less than nothing", "DECLINE", {
            json!({"decline": {"offer_ids": [id], "filters": {"refuse_seconds": -1e308}}})
        }),
    ]
}

fn others(offer: &Value) -> Vec<Row> {
    let agent = &offer["agent_id"];
    let uuid = "AAAAAAAAAAAAAAAAAAAAAA==";
    let acknowledge =
        |uuid: &str| json!({"acknowledge": {"agent_id": agent, "task_id": {"value": "t"}, "uuid": uuid}});
    vec![
        ("ACKNOWLEDGE of nothing", "ACKNOWLEDGE", acknowledge(uuid)),
        ("ACKNOWLEDGE with half a uuid", "ACKNOWLEDGE", acknowledge("AAAA")),
        ("ACKNOWLEDGE without a uuid", "ACKNOWLEDGE", acknowledge("")),
        ("ACKNOWLEDGE of an unknown agent", "ACKNOWLEDGE", {
            json!({"acknowledge": {"agent_id": {"value": "x"}, "task_id": {"value": "t"}, "uuid": uuid}})
        }),
        ("KILL of another's task", "KILL", json!({"kill": {"task_id": {"value": "quiet-0"}}})),
        ("SHUTDOWN of an unknown executor", "SHUTDOWN", {
            json!({"shutdown": {"executor_id": {"value": "../x"}, "agent_id": agent}})
        }),
        ("MESSAGE to an unknown executor", "MESSAGE", {
            json!({"message": {"agent_id": agent, "executor_id": {"value": "x"}, "data": "AAAA"}})
        }),
        ("MESSAGE to an unknown agent", "MESSAGE", {
            json!({"message": {"agent_id": {"value": "x"}, "executor_id": {"value": "x"}, "data": "AAAA"}})
        }),
        ("REVIVE in another's role", "REVIVE", json!({"revive": {"roles": ["quiet"]}})),
        ("SUPPRESS in no role", "SUPPRESS", json!({"suppress": {"roles": ["../x"]}})),
        ("RECONCILE of an unknown agent's task", "RECONCILE", {
            json!({"reconcile": {"tasks": [{"task_id": {"value": "t"}, "agent_id": {"value": "x"}}]}})
        }),
        ("RECONCILE without tasks", "RECONCILE", json!({})),
        ("RECONCILE_OPERATIONS of nothing", "RECONCILE_OPERATIONS", {
            json!({"reconcile_operations": {"operations": [{"operation_id": {"value": "o"}, "agent_id": agent}]}})
        }),
        ("ACKNOWLEDGE_OPERATION_STATUS of nothing", "ACKNOWLEDGE_OPERATION_STATUS", {
            json!({"acknowledge_operation_status": {"agent_id": agent, "operation_id": {"value": "o"}, "uuid": uuid}})
        }),
        ("ACCEPT_INVERSE_OFFERS of an offer", "ACCEPT_INVERSE_OFFERS", {
            json!({"accept_inverse_offers": {"inverse_offer_ids": [offer["id"]]}})
        }),
        ("UPDATE_FRAMEWORK of another", "UPDATE_FRAMEWORK", {
            json!({"update_framework": {"framework_info": {"user": "root", "name": "x", "id": {"value": "x"}}}})
        }),
        (
            "SUBSCRIBE on the stream",
            "SUBSCRIBE",
            json!({"subscribe": {"framework_info": {"user": "root", "name": "x"}}}),
        ),
        ("a call of the future", "FROM_THE_FUTURE", json!({})),
    ]
}

/// The outcomes of all rows, each with fresh offers, and the neighbour served after each.
async fn table(rows: impl Fn(&Value) -> Vec<Row>) -> String {
    let (master, mut neighbour) = with_neighbour().await;
    let mut suspect = Suspect::start(&master, "cpus:4;mem:4096;disk:1000;ports:[31000-32000]").await;
    let mut shown = String::new();
    for at in 0.. {
        let offer = suspect.offers().await.remove(0);
        let Some((name, kind, parts)) = rows(&offer).into_iter().nth(at) else { break };
        let outcome = suspect.outcome(kind, parts).await;
        let of = |member: &str| offer[member]["value"].as_str().expect("an id").to_owned();
        let id = of("id");
        let outcome = outcome
            .replace(&id, "OFFER")
            .replace(&id.replace("-O", "-O0"), "OFFER0")
            .replace(&of("agent_id"), "AGENT")
            .replace(&of("framework_id"), "FRAMEWORK");
        shown += &format!("{name}: {outcome}");
        neighbour.assert_served().await;
        suspect.kill_all().await;
    }
    master.shutdown().await;
    shown
}

#[tokio::test]
async fn task_ids_that_are_none() {
    expect![[r#"
        an empty id: 202 
             TASK_ERROR REASON_TASK_INVALID: ID must not be empty
        an id of 256 characters: 202 
            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx TASK_ERROR REASON_TASK_INVALID: ID must not be greater than 255 characters
        an id of a megabyte: 202 
            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... (529 bytes)
        an id with a slash: 202 
            ../../etc TASK_ERROR REASON_TASK_INVALID: '../../etc' contains invalid characters
        an id that is a directory: 202 
            .. TASK_ERROR REASON_TASK_INVALID: '..' is disallowed
        an id with control characters: 202 
            ab
         TASK_ERROR REASON_TASK_INVALID: 'ab
        ' contains invalid characters
        one id twice: 202 
            same TASK_ERROR REASON_TASK_INVALID: Task has duplicate ID: same
            same TASK_RUNNING -: -
        another agent: 202 
            elsewhere TASK_ERROR REASON_TASK_INVALID: Task uses invalid agent no-such-agent while agent AGENT is expected
        neither command nor executor: 202 
            bare TASK_ERROR REASON_TASK_INVALID: Task should have at least one (but not both) of CommandInfo or ExecutorInfo present
        labels of three megabytes: 202 
            labelled TASK_ERROR REASON_TASK_INVALID: 'TaskInfo' has 3145853 bytes besides its data, more than the limit of 1048576
        an executor of another framework: 202 
            foreign TASK_ERROR REASON_TASK_INVALID: ExecutorInfo has an invalid FrameworkID (Actual: other vs Expected: FRAMEWORK)
    "#]].assert_eq(&table(task_ids).await);
}

#[tokio::test]
async fn amounts_that_are_none() {
    expect![[r#"
        nothing: 202 
            t TASK_ERROR REASON_TASK_INVALID: Task uses no resources
        zero: 202 
            t TASK_RUNNING -: -
        less than nothing: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0
        less than a thousandth: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'cpus:0' is invalid: Invalid scalar resource: value <= 0
        1e308: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'cpus:9.22337203685478e+15' is invalid: Invalid scalar resource: value > 9e+15
        infinite: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'cpus:9.22337203685478e+15' is invalid: Invalid scalar resource: value > 9e+15
        more than there is: 202 
            t TASK_ERROR REASON_TASK_INVALID: Total resources cpus(allocated: loud):1000000 required by task and its executor is more than available cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000]
        twice the same, more than there is: 202 
            t TASK_ERROR REASON_TASK_INVALID: Total resources cpus(allocated: loud):6 required by task and its executor is more than available cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000]
        what nobody has: 202 
            t TASK_ERROR REASON_TASK_INVALID: Total resources unobtainium(allocated: loud):1 required by task and its executor is more than available cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000]
        half a GPU: 202 
            t TASK_ERROR REASON_TASK_INVALID: Task uses invalid resources: Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer
        no name: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource ':1' is invalid: Empty resource name
        no value: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'cpus:0' is invalid: Invalid scalar resource
        two kinds of value: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'cpus:1' is invalid: Invalid scalar resource
        a text: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'cpus:' is invalid: Unsupported resource type
        ranges that overlap: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'ports:[31000-31010, 31005-31020]' is invalid: Invalid ranges resource: overlapping ranges
        a range backwards: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 'ports:[31010-31000]' is invalid: Invalid ranges resource: begin > end
        all numbers: 202 
            t TASK_ERROR REASON_TASK_INVALID: Total resources ports(allocated: loud):[0-18446744073709551615] required by task and its executor is more than available cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000]
        the last number: 202 
            t TASK_ERROR REASON_TASK_INVALID: Total resources ports(allocated: loud):[0-0, 18446744073709551615-18446744073709551615] required by task and its executor is more than available cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000]
        2^64: 400 Failed to convert JSON into Call protobuf: Failed to parse the number in field 'end'
        a set with doubles: 202 
            t TASK_ERROR REASON_TASK_INVALID: Resource 's:{a, a}' is invalid: Invalid set resource: duplicated elements
        5000 names: 202 
            t TASK_ERROR REASON_TASK_INVALID: 5000 resources are more than the limit of 4096
        a role that is none: 202 
            t TASK_ERROR REASON_TASK_INVALID: Role '../x' cannot include '..' as a component
        another's role: 202 
            t TASK_ERROR REASON_TASK_INVALID: Total resources cpus(allocated: quiet):1 required by task and its executor is more than available cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000]
    "#]].assert_eq(&table(amounts).await);
}

#[tokio::test]
async fn operations_that_are_impossible() {
    expect![[r#"
        RESERVE for another role: 202 
            o OPERATION_ERROR: A reserve operation was attempted for a resource with role 'quiet', but the resource was allocated to role 'loud'; on agent AGENT at slave(1)@127.0.0.1:5051 (loud)
        RESERVE for all: 202 
            o OPERATION_ERROR: Invalid resources: Resource 'cpus(reservations: [(DYNAMIC,*,test)]):1' is invalid: Invalid reservation: role "*" cannot be reserved
        RESERVE for no role: 202 
            o OPERATION_ERROR: Invalid resources: Resource 'cpus(reservations: [(DYNAMIC,a//b,test)]):1' is invalid: Role 'a//b' cannot contain two adjacent slashes
        RESERVE as somebody else: 202 
            o OPERATION_ERROR: A reserve operation was attempted by authenticated principal 'test', which does not match a reserved resource in the request with principal 'root'; on agent AGENT at slave(1)@127.0.0.1:5051 (loud)
        RESERVE as nobody: 202 
            o OPERATION_ERROR: A reserve operation was attempted by principal 'test', but there is a reserved resource in the request with no principal set; on agent AGENT at slave(1)@127.0.0.1:5051 (loud)
        RESERVE of more than is offered: 202 
            o OPERATION_ERROR: cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000] does not contain cpus(allocated: loud):100
        RESERVE of nothing: 202 
        RESERVE upwards: 202 
            o OPERATION_ERROR: Invalid resources: Resource 'cpus(reservations: [(DYNAMIC,loud/a,test),(DYNAMIC,loud,test)]):1' is invalid: Invalid refined reservation: role 'loud' is not a refinement of 'loud/a'
        RESERVE in another tree: 202 
            o OPERATION_ERROR: Invalid resources: Resource 'cpus(reservations: [(DYNAMIC,quiet,test),(DYNAMIC,loud,test)]):1' is invalid: Invalid refined reservation: role 'loud' is not a refinement of 'quiet'
        RESERVE with labels of a megabyte: 202 
            o OPERATION_ERROR: The resources of an operation with an id have 1048642 bytes, more than the limit of 16384
        UNRESERVE of what is not reserved: 202 
            o OPERATION_ERROR: cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000] does not contain cpus(allocated: loud)(reservations: [(DYNAMIC,loud,test)]):1
        CREATE without reservation: 202 
            o OPERATION_ERROR: cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000] does not contain disk(allocated: loud)(reservations: [(DYNAMIC,loud,test)]):10
        CREATE outside of the sandbox: 202 
            o OPERATION_ERROR: cpus(allocated: loud):4; disk(allocated: loud):1000; mem(allocated: loud):4096; ports(allocated: loud):[31000-32000] does not contain disk(allocated: loud)(reservations: [(DYNAMIC,loud,test)]):10
        CREATE with an id that is a path: 202 
            o OPERATION_ERROR: Invalid resources: Invalid DiskInfo: Invalid persistence ID for persistent volume: '../v' contains invalid characters
        CREATE of cpus: 202 
            o OPERATION_ERROR: Invalid resources: Resource 'cpus(reservations: [(DYNAMIC,loud,test)])[v:p]:10' is invalid: DiskInfo should not be set for cpus resource
        CREATE of a shared volume: 202 
            o OPERATION_ERROR: Create volume operation for 'disk(allocated: loud)(reservations: [(DYNAMIC,loud,test)])[v:p]<SHARED>:10' has been attempted by framework 'FRAMEWORK' with no SHARED_RESOURCES capability; on agent AGENT at slave(1)@127.0.0.1:5051 (loud)
        DESTROY of nothing: 202 
            o OPERATION_ERROR: Persistent volumes not found; on agent AGENT at slave(1)@127.0.0.1:5051 (loud)
        an unknown operation: 202 
            o OPERATION_ERROR: UNKNOWN operations are not supported
        an operation of the future: 202 
            o OPERATION_ERROR: UNKNOWN operations are not supported
        CREATE_DISK: 202 
            o OPERATION_ERROR: CREATE_DISK operations are not supported
        an operation without its part: 202 
            o OPERATION_ERROR: A RESERVE offer operation must have the Offer.Operation.reserve field set.
        an id of 5000 characters: 400 Failed to validate scheduler::Call: 'Operation.id' has 5000 bytes, more than the limit of 4096
        LAUNCH with an id: 202 
            t TASK_ERROR REASON_TASK_INVALID: The `id` field cannot be set on LAUNCH operations
    "#]].assert_eq(&table(operations).await);
}

#[tokio::test]
async fn offers_that_are_none() {
    expect![[r#"
        no offer: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: No offers specified
        an offer twice: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Duplicate offer OFFER in offer list
        an unknown offer: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Offer x is no longer valid
        an offer of the future: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Offer OFFER999 is no longer valid
        an offer and an unknown one: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Offer x is no longer valid
        an offer with a zero before its number: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Offer OFFER0 is no longer valid
        an offer of 2^64: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Offer OFFER99999999999999999999 is no longer valid
        DECLINE of an unknown offer: 202 
        DECLINE for ever: 202 
        DECLINE for less than nothing: 202 
    "#]].assert_eq(&table(offers).await);
}

#[tokio::test]
async fn calls_about_what_is_not_the_callers() {
    expect![[r#"
        ACKNOWLEDGE of nothing: 202 
        ACKNOWLEDGE with half a uuid: 400 Failed to validate scheduler::Call: Not a valid UUID
        ACKNOWLEDGE without a uuid: 400 Failed to validate scheduler::Call: Not a valid UUID
        ACKNOWLEDGE of an unknown agent: 202 
        KILL of another's task: 202 
            quiet-0 TASK_UNKNOWN REASON_RECONCILIATION: Reconciliation: Task is unknown
        SHUTDOWN of an unknown executor: 202 
        MESSAGE to an unknown executor: 202 
        MESSAGE to an unknown agent: 202 
        REVIVE in another's role: 202 
        SUPPRESS in no role: 202 
        RECONCILE of an unknown agent's task: 202 
            t TASK_UNKNOWN REASON_RECONCILIATION: Reconciliation: Task is unknown
        RECONCILE without tasks: 400 Failed to validate scheduler::Call: Expecting 'reconcile' to be present
        RECONCILE_OPERATIONS of nothing: 202 
            o OPERATION_UNKNOWN: Reconciliation: Operation is unknown
        ACKNOWLEDGE_OPERATION_STATUS of nothing: 202 
        ACCEPT_INVERSE_OFFERS of an offer: 202 
        UPDATE_FRAMEWORK of another: 400 Failed to validate scheduler::Call: 'framework_id' differs from 'update_framework.framework_info.id'
        SUBSCRIBE on the stream: 400 Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'
        a call of the future: 400 Failed to validate scheduler::Call: Expecting 'type' to be present
    "#]].assert_eq(&table(others).await);
}
