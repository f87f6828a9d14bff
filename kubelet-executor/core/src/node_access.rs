//! What a request to the node's server asks for, in the terms of authorization: a verb on the Node and its subresources.
//! Upstream: `pkg/kubelet/server/auth.go`.

/// The verb and subresources of a Node. One allowed subresource suffices.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NodeRequest {
    pub verb: &'static str,
    pub subresources: &'static [&'static str],
}

impl NodeRequest {
    /// What a method and a path ask for. Paths below a known one belong to it.
    pub fn of(method: &str, path: &str) -> NodeRequest {
        let verb = match method {
            "POST" => "create",
            "GET" => "get",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        };
        let subresources: &[&str] = match path.trim_start_matches('/').split('/').next().unwrap_or_default() {
            "pods" => &["pods", "proxy"],
            "healthz" => &["healthz", "proxy"],
            "stats" => &["stats"],
            "metrics" => &["metrics"],
            "statusz" => &["statusz"],
            "flagz" => &["configz"],
            _ => &["proxy"],
        };
        NodeRequest { verb, subresources }
    }

    /// The refusal of a user, in upstream's words.
    pub fn refusal(&self, user: &str) -> String {
        let (verb, subresources) = (self.verb, self.subresources.join(" "));
        format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_belong_to_subresources() {
        let table = [
            ("GET", "/metrics/resource", "get metrics"),
            ("GET", "/stats/summary", "get stats"),
            ("GET", "/pods", "get pods,proxy"),
            ("GET", "/healthz", "get healthz,proxy"),
            ("POST", "/exec/ns/p/c", "create proxy"),
            ("GET", "/metricsx", "get proxy"),
            ("GET", "/statusz", "get statusz"),
            ("GET", "/flagz", "get configz"),
            ("GET", "//metrics", "get metrics"),
            ("HEAD", "/metrics", " metrics"),
        ];
        for (method, path, expected) in table {
            let NodeRequest { verb, subresources } = NodeRequest::of(method, path);
            assert_eq!(format!("{verb} {}", subresources.join(",")), expected, "{method} {path}");
        }
        let refusal = NodeRequest::of("GET", "/pods/").refusal("u");
        assert_eq!(refusal, "Forbidden (user=u, verb=get, resource=nodes, subresource(s)=[pods proxy])\n");
    }
}
