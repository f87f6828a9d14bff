//! What the levels contain, as text: `/debug/api_priority_and_fairness/…` of kube-apiserver.

use shim_core::flow_control::Distinguisher;
use shim_core::flow_control::dump::{self, Description, LevelDump};

use super::{Details, FlowControl};
use crate::request::info::RequestInfo;

/// The pages' common path.
const ROOT: &str = "/debug/api_priority_and_fairness/";

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dump {
    PriorityLevels,
    Queues,
    Requests,
}

impl Dump {
    /// The page at a path.
    pub fn at(path: &str) -> Option<Dump> {
        match path.strip_prefix(ROOT)? {
            "dump_priority_levels" => Some(Dump::PriorityLevels),
            "dump_queues" => Some(Dump::Queues),
            "dump_requests" => Some(Dump::Requests),
            _ => None,
        }
    }
}

impl FlowControl {
    /// A page; `with_details` adds the columns of users and paths to that of requests.
    pub fn dump(&self, page: Dump, with_details: bool) -> String {
        let configuration = self.inner.configuration.load();
        let present = configuration.levels.iter().map(|level| (&level.name, &level.level, false));
        let leaving = configuration.quiescing.iter().map(|(name, level)| (name, level, true));
        let levels = present.chain(leaving).map(|(name, level, is_quiescing)| LevelDump {
            name: name.clone(),
            is_quiescing,
            queues: level.dump(),
        });
        // Those that have become idle meanwhile are gone.
        let levels = levels.filter(|level| !(level.is_quiescing && level.queues.is_idle)).collect();
        match page {
            Dump::PriorityLevels => dump::levels(levels),
            Dump::Queues => dump::queues(levels),
            Dump::Requests => dump::requests(levels, (self.inner.start_time, with_details), describe),
        }
    }
}

fn describe(details: &Details) -> Description {
    let Details { schema, user, method, uri } = details;
    let info = RequestInfo::new(method, uri);
    let target = info.target.unwrap_or_default();
    let flow = match schema.schema.distinguisher {
        None => String::new(),
        Some(Distinguisher::User) => user.name.clone(),
        Some(Distinguisher::Namespace) => target.namespace.clone(),
    };
    Description {
        schema: schema.schema.name.clone(),
        flow,
        user: user.name.clone(),
        verb: info.verb.to_owned(),
        path: info.path,
        namespace: target.namespace,
        name: target.name,
        api_version: match target.group.is_empty() {
            true => target.version,
            false => format!("{}/{}", target.group, target.version),
        },
        resource: target.plural,
        subresource: target.subresource,
    }
}
