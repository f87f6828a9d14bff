//! The API server over HTTPS with the node's certificate: `kube` builds the requests and reads errors, `transport` has the
//! connections. Nothing is cached here.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, StatusCode, Uri, uri::InvalidUri};
use http_body_util::{BodyExt, Full};
use k8s_openapi::api::{
    authentication::v1 as authentication,
    authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::{
        ConfigMap, Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
    },
    node::v1::RuntimeClass,
};
use kube::{
    Resource,
    api::{GetParams, ListParams, Patch, PatchParams, PostParams},
    client::middleware::BaseUriLayer,
    core::{ObjectList, PartialObjectMeta, request},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tower::{BoxError, Layer};
use transport::client::{Client, ClientOptions};

use super::{Api, ApiError, Token, TokenRequest};
use crate::{config::Config, tls};

/// Time limit of a request with its response body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct KubeApi {
    client: kube::Client,
}

impl KubeApi {
    /// Needs a tokio runtime.
    pub fn new(config: &Arc<Config>) -> Result<Self, InvalidUri> {
        let url = config.api_server.as_str();
        let base: Uri = if url.contains("://") { url.parse()? } else { format!("https://{url}").parse()? };
        let options = ClientOptions { tls: Some(tls::client(config)), ..ClientOptions::default() };
        let http = Client::new(options);
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let http = http.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(BoxError::from)?.to_bytes();
                http.send(Request::from_parts(head, Full::new(body))).await.map_err(BoxError::from)
            }
        });
        let service = BaseUriLayer::new(base).layer(service);
        Ok(Self { client: kube::Client::new(service, "default") })
    }

    /// Sends a request and decodes the response. The response is not logged if it does not decode: it may be a Secret.
    async fn call<T: DeserializeOwned>(
        &self,
        request: Result<Request<Vec<u8>>, request::Error>,
    ) -> Result<T, ApiError> {
        let request = request.map_err(|error| ApiError::Unavailable(error.to_string()))?;
        let response = tokio::time::timeout(REQUEST_TIMEOUT, self.client.request_text(request)).await;
        let text = response
            .map_err(|_| ApiError::Unavailable("the API server did not answer in time".to_owned()))?
            .map_err(api_error)?;
        serde_json::from_str(&text)
            .map_err(|error| ApiError::Unavailable(format!("the response does not decode: {error}")))
    }

    async fn find<T: DeserializeOwned>(&self, url: String, name: &str) -> Result<Option<T>, ApiError> {
        match self.call(request::Request::new(url).get(name, &GetParams::default())).await {
            Ok(found) => Ok(Some(found)),
            Err(ApiError::Refused { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn api_error(error: kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => ApiError::Refused { code: status.code, message: status.message.clone() },
        kube::Error::Service(error) => ApiError::Unavailable(error.to_string()),
        other => ApiError::Unavailable(other.to_string()),
    }
}

fn url<K: Resource<DynamicType = ()>>(namespace: &str) -> String {
    K::url_path(&(), Some(namespace))
}

fn body<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(value).map_err(|error| ApiError::Unavailable(error.to_string()))
}

#[async_trait]
impl Api for KubeApi {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ApiError> {
        self.find(url::<ConfigMap>(namespace), name).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError> {
        self.find(url::<Secret>(namespace), name).await
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>, ApiError> {
        self.find(url::<PersistentVolumeClaim>(namespace), name).await
    }

    async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>, ApiError> {
        self.find(PersistentVolume::url_path(&(), None), name).await
    }

    async fn runtime_class(&self, name: &str) -> Result<Option<RuntimeClass>, ApiError> {
        self.find(RuntimeClass::url_path(&(), None), name).await
    }

    async fn services(&self, namespace: &str) -> Result<Vec<Service>, ApiError> {
        let list = request::Request::new(url::<Service>(namespace)).list(&ListParams::default());
        let mut services = self.call::<ObjectList<Service>>(list).await?.items;
        if namespace != "default" {
            services.extend(self.find(url::<Service>("default"), "kubernetes").await?);
        }
        Ok(services)
    }

    async fn token(&self, request: &TokenRequest) -> Result<Token, ApiError> {
        let (pod_name, pod_uid) = request.pod.clone();
        let wanted = authentication::TokenRequest {
            spec: Some(authentication::TokenRequestSpec {
                audiences: Some(request.audience.iter().cloned().collect()),
                expiration_seconds: Some(request.expiration_seconds),
                bound_object_ref: Some(authentication::BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(pod_name),
                    uid: Some(pod_uid),
                }),
            }),
            ..Default::default()
        };
        let account = request::Request::new(url::<ServiceAccount>(&request.namespace));
        let bytes = body(&wanted)?;
        let call = account.create_subresource("token", &request.account, &PostParams::default(), bytes);
        let status = self.call::<authentication::TokenRequest>(call).await?.status;
        let issued = status.and_then(|status| Some((status.token?, status.expiration_timestamp?.0)));
        let (token, expires_at) =
            issued.ok_or_else(|| ApiError::Unavailable("the response has no token".to_owned()))?;
        Ok(Token { token, expires_at })
    }

    async fn node(&self, name: &str) -> Result<Option<Node>, ApiError> {
        self.find(Node::url_path(&(), None), name).await
    }

    async fn pod_uids(&self, node: &str) -> Result<Vec<String>, ApiError> {
        let pods = request::Request::new(Pod::url_path(&(), None));
        let of_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let list: ObjectList<PartialObjectMeta<Pod>> = self.call(pods.list_metadata(&of_node)).await?;
        Ok(list.items.into_iter().filter_map(|pod| pod.metadata.uid).collect())
    }

    async fn review_token(&self, token: &str) -> Result<Option<authentication::UserInfo>, ApiError> {
        let wanted = authentication::TokenReview {
            spec: authentication::TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..Default::default()
        };
        let reviews = request::Request::new(authentication::TokenReview::url_path(&(), None));
        let call = reviews.create(&PostParams::default(), body(&wanted)?);
        let status = self.call::<authentication::TokenReview>(call).await?.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn review_access(&self, asked: SubjectAccessReviewSpec) -> Result<bool, ApiError> {
        let wanted = SubjectAccessReview { spec: asked, ..Default::default() };
        let reviews = request::Request::new(SubjectAccessReview::url_path(&(), None));
        let call = reviews.create(&PostParams::default(), body(&wanted)?);
        Ok(self.call::<SubjectAccessReview>(call).await?.status.is_some_and(|status| status.allowed))
    }

    fn client(&self) -> Option<kube::Client> {
        Some(self.client.clone())
    }

    async fn record(&self, event: &Event) -> Result<(), ApiError> {
        let events =
            request::Request::new(url::<Event>(event.metadata.namespace.as_deref().unwrap_or("default")));
        if event.count.unwrap_or(1) > 1 {
            let patch = json!({
                "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message,
            });
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let call = events.patch(name, &PatchParams::default(), &Patch::Merge(patch));
            match self.call::<Event>(call).await {
                // The Event has expired: create it again.
                Err(ApiError::Refused { code, .. }) if code == StatusCode::NOT_FOUND.as_u16() => {}
                other => return other.map(drop),
            }
        }
        self.call::<Event>(events.create(&PostParams::default(), body(event)?)).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
