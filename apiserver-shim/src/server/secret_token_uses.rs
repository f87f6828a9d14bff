//! Labels Secrets with the day on which their tokens were last used.

use serde_json::json;
use shim_core::controllers::served;
use shim_core::secret_tokens::{LAST_USED, due_last_used};
use shim_model::patch::merge;

use crate::auth::authentication::SecretTokenUses;
use crate::pipeline::{Identity, ObjectRef, Pipeline};
use crate::storage::registry::now;

/// Labels them as long as the authenticator lives.
pub async fn note(mut uses: SecretTokenUses, pipeline: Pipeline) {
    let secrets = pipeline.registry().builtin(&served("", "secrets"));
    while let Some((namespace, name)) = uses.next().await {
        let context = Identity::apiserver().context("patch");
        let labelled =
            pipeline.update_with(&context, ObjectRef::new(&secrets, &namespace, &name), |stored| {
                let mut labelled = stored.clone();
                // Several requests may have reported the same use.
                if let Some(day) = due_last_used(stored, now().seconds()) {
                    merge::apply(&mut labelled, &json!({"metadata": {"labels": {LAST_USED: day}}}));
                }
                Ok(labelled)
            });
        if let Err(error) = labelled.await {
            tracing::warn!(%error, namespace, name, "the last use of a Secret's token was not noted");
        }
    }
}
