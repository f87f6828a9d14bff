//! `/explain`: why a framework, a role or a task waits, with a reason for programs and a text for people each. Mesos has no such
//! endpoint.

use hyper::StatusCode;
use kernel_core::master::{ClientWait, Master, RoleWait, TaskWait, WaitCause};
use kernel_wire::task::state_name;
use serde_json::{Value, json};

use super::{
    Answer, Handlers,
    negotiate::{self, text},
    query::Query,
    shapes::quantities,
};

/// What is asked about.
enum Subject {
    Framework(String),
    Role(String),
    Task(String),
}

impl Subject {
    fn of(query: &Query) -> Option<Subject> {
        let named = |key: &str| query.get(key).map(str::to_owned);
        match (named("framework"), named("role"), named("task")) {
            (Some(name), None, None) => Some(Subject::Framework(name)),
            (None, Some(name), None) => Some(Subject::Role(name)),
            (None, None, Some(name)) => Some(Subject::Task(name)),
            _ => None,
        }
    }

    fn explain(&self, master: &Master) -> Result<Value, String> {
        let found = match self {
            Subject::Framework(name) => {
                let all = master.explain_framework(name);
                (!all.is_empty()).then(|| json!({"frameworks": all.iter().map(client).collect::<Vec<_>>()}))
            }
            Subject::Role(name) => master.explain_role(name).map(|found| json!({"role": role(&found)})),
            Subject::Task(id) => {
                let all = master.explain_task(id);
                (!all.is_empty()).then(|| json!({"tasks": all.iter().map(task).collect::<Vec<_>>()}))
            }
        };
        found.ok_or_else(|| match self {
            Subject::Framework(name) => format!("No framework has the id or name '{name}'"),
            Subject::Role(name) => format!("Role '{name}' has no frameworks, weight or reservations"),
            Subject::Task(id) => format!("No task with the id '{id}' is known; ended tasks are forgotten"),
        })
    }
}

/// Answers a request.
pub(super) async fn serve(handlers: &Handlers, query: &Query) -> Answer {
    let Some(subject) = Subject::of(query) else {
        return text(StatusCode::BAD_REQUEST, "Expecting one of 'framework', 'role' and 'task' in the query");
    };
    match handlers.queue.read(move |master: &Master| subject.explain(master)).await {
        Ok(Ok(value)) => negotiate::json(value.to_string(), query.get("jsonp")),
        Ok(Err(absent)) => text(StatusCode::NOT_FOUND, absent),
        Err(_) => negotiate::stopped(),
    }
}

fn client(from: &ClientWait) -> Value {
    json!({
        "id": from.framework.as_str(),
        "name": from.name,
        "role": from.role.as_str(),
        "dominant_share": from.dominant_share,
        "offers": from.offers,
        "reasons": from.reasons.iter().map(reason).collect::<Vec<_>>(),
    })
}

fn reason(from: &WaitCause) -> Value {
    let mut out = json!({"reason": from.code(), "message": from.to_string()});
    if let Some(agents) = from.agents() {
        out["agents"] = agents.into();
    }
    out
}

fn role(from: &RoleWait) -> Value {
    json!({
        "name": from.view.role.as_str(),
        "weight": from.view.weight,
        "dominant_share": from.dominant_share,
        "allocated": quantities(&from.view.allocated),
        "offered": quantities(&from.view.offered),
        "reserved": quantities(&from.view.reserved),
        "frameworks": from.clients.iter().map(client).collect::<Vec<_>>(),
        "omitted": from.omitted,
    })
}

fn task(from: &TaskWait) -> Value {
    let cause = from.cause.map(|cause| json!({"reason": cause.code(), "message": cause.to_string()}));
    json!({
        "id": from.task.as_str(),
        "framework_id": from.framework.as_str(),
        "framework": from.name,
        "agent_id": from.agent.as_str(),
        "hostname": from.hostname,
        "state": state_name(from.state),
        "reasons": cause.into_iter().collect::<Vec<_>>(),
    })
}
