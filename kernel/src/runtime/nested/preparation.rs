//! Prepares the start of a container: its sandbox with its files, and what is run in it.

use std::{
    io,
    path::{Path, PathBuf},
};

use kernel_model::container::ImageContainer;
use tokio_util::sync::CancellationToken;

use super::{NestedLaunch, below_root};
use crate::{
    images::SANDBOX_DIRECTORY,
    runtime::{
        containerizer::{ImageUse, Surroundings},
        credentials::{self, Credentials},
        environment::PATH,
        fetch::fetch,
        image::{self, Above, Parts},
        images::image_id,
        launch::{LaunchError, LaunchPlan, command_line, refuse_secrets},
        sandbox::{Paths, Sandbox},
    },
};

/// The longest name of a container of an image, which is that of a directory and of a cgroup.
const IMAGE_ID_BYTES_MAX: usize = 250;

/// What a container is prepared from.
pub(super) struct Preparation {
    pub(super) launch: NestedLaunch,
    /// Those of the container above.
    pub(super) above: Surroundings,
    /// The sandbox of the outermost container above.
    pub(super) root: Option<PathBuf>,
    pub(super) paths: Paths,
    /// Whether containers have limits.
    pub(super) limited: bool,
}

/// A sandbox, and what to run in it.
pub(super) struct Prepared {
    pub(super) sandbox: Sandbox,
    /// That of sessions.
    pub(super) directory: Option<Sandbox>,
    pub(super) plan: LaunchPlan,
    pub(super) image: Option<ImageUse>,
    pub(super) surroundings: Surroundings,
}

impl Preparation {
    /// Blocks.
    pub(super) fn run(self, stop: &CancellationToken) -> Result<Prepared, LaunchError> {
        let command = &self.launch.command;
        refuse_secrets(command)?;
        let user = command.user.clone().unwrap_or_else(|| self.above.user.clone());
        let owner = credentials::of_user(&user)?;
        let sandbox = self.sandbox(owner.as_ref())?;
        if !command.uris.is_empty() {
            let fetch = || fetch(&command.uris, &sandbox, stop).map_err(LaunchError::Fetch);
            match &owner {
                // So that nothing is fetched that the user may not read.
                Some(owner) => owner.run(fetch)?,
                None => fetch()?,
            }
        }
        match (&self.launch.image, self.launch.is_session && self.above.in_image) {
            (Some(image), _) => self.of_image(image, user, owner, sandbox),
            (None, true) => self.within_image(user, owner, sandbox),
            (None, false) => self.of_process(user, owner, sandbox),
        }
    }

    fn sandbox(&self, owner: Option<&Credentials>) -> Result<Sandbox, LaunchError> {
        let path = &self.launch.path;
        let sandbox = match &self.root {
            Some(root) => Sandbox::open(root).and_then(|root| root.create_below(&below_root(path), owner)),
            None => {
                let standalone = self.paths.standalone();
                if credentials::is_of_other(&standalone.join(path.root_id().as_str()), owner) {
                    return Err(left_by_other());
                }
                Sandbox::create_standalone(&standalone, path.root_id(), owner)
            }
        };
        sandbox.map_err(LaunchError::Sandbox)
    }

    /// A process of the machine.
    fn of_process(
        &self,
        user: String,
        owner: Option<Credentials>,
        sandbox: Sandbox,
    ) -> Result<Prepared, LaunchError> {
        let launch = &self.launch;
        let directory = match (launch.is_session, &self.root) {
            (true, Some(root)) => Some(session_directory(root, &self.above).map_err(LaunchError::Sandbox)?),
            (true, None) | (false, _) => None,
        };
        let mut environment = if launch.is_session { self.above.environment.clone() } else { Vec::new() };
        if !environment.iter().any(|(name, _)| name == "PATH") {
            environment.insert(0, ("PATH".to_owned(), PATH.to_owned()));
        }
        if !launch.is_session {
            environment.push(("MESOS_SANDBOX".to_owned(), sandbox.path().display().to_string()));
        }
        environment.extend(launch.command.environment.iter().cloned());
        let working = directory.as_ref().unwrap_or(&sandbox).path().to_owned();
        Ok(Prepared {
            surroundings: Surroundings {
                user,
                environment: environment.clone(),
                directory: working,
                in_image: false,
            },
            plan: LaunchPlan {
                arguments: command_line(&launch.command).ok_or_else(no_command)?,
                environment,
                user: owner.clone(),
                owner,
                enters: None,
            },
            image: None,
            sandbox,
            directory,
        })
    }

    /// A process in the container above, with that one's variables and directory.
    fn within_image(
        &self,
        user: String,
        owner: Option<Credentials>,
        sandbox: Sandbox,
    ) -> Result<Prepared, LaunchError> {
        let command = &self.launch.command;
        let path = self.launch.path.parent().ok_or_else(no_command)?;
        let directory = sandbox.path().to_owned();
        Ok(Prepared {
            surroundings: Surroundings {
                user,
                environment: command.environment.clone(),
                directory,
                in_image: true,
            },
            plan: LaunchPlan {
                arguments: command_line(command).ok_or_else(no_command)?,
                environment: command.environment.clone(),
                user: owner.clone(),
                owner,
                enters: None,
            },
            image: Some(ImageUse::Within { path, as_its_user: command.user.is_none() }),
            sandbox,
            directory: None,
        })
    }

    /// A container of an image.
    fn of_image(
        &self,
        image: &ImageContainer,
        user: String,
        owner: Option<Credentials>,
        sandbox: Sandbox,
    ) -> Result<Prepared, LaunchError> {
        let launch = &self.launch;
        let id = image_id(&launch.path);
        if id.as_str().len() > IMAGE_ID_BYTES_MAX {
            let why = format!("the path of a container of an image has at most {IMAGE_ID_BYTES_MAX} bytes");
            return Err(LaunchError::Invalid(why));
        }
        let parent = self.parent_sandbox().map_err(LaunchError::Sandbox)?;
        // Below the outermost one, nobody links volumes.
        let is_below_outermost = launch.path.parent().is_some_and(|parent| !parent.is_nested());
        let volumes = if is_below_outermost { launch.volumes.as_slice() } else { &[] };
        let above = parent.as_ref().map(|sandbox| Above { sandbox, volumes });
        let environment = vec![("MESOS_SANDBOX".to_owned(), SANDBOX_DIRECTORY.to_owned())];
        let (paths, limited) = (&self.paths, self.limited);
        let parts = Parts { limited, paths, sandbox: &sandbox, owner: owner.as_ref(), above: above.as_ref() };
        let config = image::config(id, (image, &launch.command), environment, launch.limits, &parts)?;
        Ok(Prepared {
            surroundings: Surroundings {
                user,
                environment: config.environment.clone(),
                directory: sandbox.path().to_owned(),
                in_image: true,
            },
            plan: LaunchPlan {
                arguments: Vec::new(),
                environment: Vec::new(),
                user: None,
                owner,
                enters: None,
            },
            image: Some(ImageUse::Inside(Box::new(config))),
            sandbox,
            directory: None,
        })
    }

    fn parent_sandbox(&self) -> io::Result<Option<Sandbox>> {
        let (Some(root), Some(parent)) = (&self.root, self.launch.path.parent()) else { return Ok(None) };
        let root = Sandbox::open(root)?;
        match parent.is_nested() {
            true => root.open_below(&below_root(&parent)).map(Some),
            false => Ok(Some(root)),
        }
    }
}

/// The directory of the container above. It is in the sandbox of the outermost one, whose user may have put links there.
fn session_directory(root: &Path, above: &Surroundings) -> io::Result<Sandbox> {
    let relative = above.directory.strip_prefix(root).map_err(|_| io::ErrorKind::NotFound)?;
    Sandbox::open(root)?.open_below(relative)
}

fn left_by_other() -> LaunchError {
    LaunchError::Invalid("the sandbox of another user's container is left: remove that first".to_owned())
}

fn no_command() -> LaunchError {
    LaunchError::Invalid("the container has no command".to_owned())
}
