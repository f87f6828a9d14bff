//! What containerd and CRI-O say of images and containers beyond the CRI's own fields: JSON in the verbose form of a status.

use cri::{Client, Error, v1};
use serde_json::Value;

/// What an image is configured to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub arguments: Vec<String>,
    /// Empty if it names none.
    pub directory: String,
}

impl ImageConfig {
    fn parse(info: &str) -> Option<Self> {
        let info: Value = serde_json::from_str(info).ok()?;
        let config = &info["imageSpec"]["config"];
        let words = |value: &Value| {
            let words = value.as_array().into_iter().flatten();
            words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        Some(Self {
            entrypoint: words(&config["Entrypoint"]),
            arguments: words(&config["Cmd"]),
            directory: config["WorkingDir"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

/// The configuration of an image that is on the node.
pub(super) async fn image_config(client: &Client, image: &str) -> Result<ImageConfig, Error> {
    let spec = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
    let request = v1::ImageStatusRequest { image: Some(spec), verbose: true };
    let info = client.image_status(request).await?.info.remove("info").unwrap_or_default();
    // Without it, the runtime's own defaults apply.
    Ok(ImageConfig::parse(&info).unwrap_or_default())
}

async fn container_info(client: &Client, id: &str) -> Result<Value, Error> {
    let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let info = client.container_status(request).await?.info.remove("info").unwrap_or_default();
    Ok(serde_json::from_str(&info).unwrap_or_default())
}

/// The first process of a running container; `None` if it has ended.
pub(super) async fn pid(client: &Client, id: &str) -> Result<Option<i32>, Error> {
    let pid = container_info(client, id).await?["pid"].as_i64();
    Ok(pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0))
}

/// The user of a container that was created, by number; `None` if the runtime does not say.
pub(super) async fn user(client: &Client, id: &str) -> Result<Option<u32>, Error> {
    let info = container_info(client, id).await?;
    Ok(info["runtimeSpec"]["process"]["user"]["uid"].as_u64().and_then(|uid| u32::try_from(uid).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_what_it_runs() {
        let info = r#"{"chainID":"sha256:1","imageSpec":{"config":{"Entrypoint":["/e"],"Cmd":["a","b"],"WorkingDir":"/w"}}}"#;
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let config =
            ImageConfig { entrypoint: words(&["/e"]), arguments: words(&["a", "b"]), directory: "/w".into() };
        assert_eq!(ImageConfig::parse(info), Some(config));
        assert_eq!(ImageConfig::parse(r#"{"imageSpec":{"config":{}}}"#), Some(ImageConfig::default()));
        assert_eq!(ImageConfig::parse(""), None);
    }
}
