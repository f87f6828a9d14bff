//! The kernel without Kubernetes: a master and one agent in this process, for Mesos frameworks.
//!
//! `cargo run -p kernel --example standalone -- 127.0.0.1:5050 /tmp/agent`

use std::{env, net::SocketAddr, path::Path, process::ExitCode, sync::Arc};

use kernel::{
    access::{Access, Credential, Credentials},
    agent::{self, AgentOptions},
    builtin_executor,
    server::{self, MasterOptions},
};
use store::EmbeddedStore;

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("command-executor") => return builtin_executor::run_command(),
        Some("default-executor") => return builtin_executor::run_default(),
        _ => {}
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let address: SocketAddr = arguments.first().map_or("127.0.0.1:5050", String::as_str).parse()?;
    let work_dir = arguments.get(1).map_or("/tmp/catamaran-agent", String::as_str);
    let store = EmbeddedStore::open(&Path::new(work_dir).join("store"))?;
    let secret = uuid::Uuid::new_v4().simple().to_string();
    let access = Access::with(Credentials::one(&Credential::new("standalone", &*secret)));
    let options = MasterOptions { access: access.clone(), ..MasterOptions::new(Arc::new(store), address) };
    let master = server::start(options).await?;
    let options = AgentOptions {
        // A fixed address, so that executors find the agent again after a restart.
        listen: SocketAddr::new(address.ip(), address.port() + 1),
        resources: Some("cpus:4;mem:4096".to_owned()),
        access,
        ..AgentOptions::new(work_dir, env::current_exe()?)
    };
    let agent = agent::start(options, Arc::new(master.attach_agent())).await?;
    println!("master on {}, agent on {}", master.mesos_address(), agent.local_addr());
    println!("principal 'standalone', secret '{secret}'");
    tokio::signal::ctrl_c().await?;
    Ok(())
}
