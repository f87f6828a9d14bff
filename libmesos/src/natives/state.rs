//! The native methods of `org.apache.mesos.state`: states in ZooKeeper, their variables, and the futures of operations.
//!
//! The private methods `__fetch_get` and so on of `AbstractState` are not there: the Java library calls them only for libraries
//! before Mesos 0.21.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jni::{
    Env, EnvUnowned, JValue, jni_mangle, jni_sig, jni_str,
    objects::{IntoAuto, JByteArray, JObject, JString},
    strings::JNIStr,
    sys::{jboolean, jlong},
};
use libmesos_core::{master, state::Variable};
use zookeeper::session::{Authentication, SessionOptions};

use super::{NativeError, Throw, registry::Registry, throw, void};
use crate::state::{Failure, Operation, OperationFuture, Outcome, Storage, StorageOptions};

/// All states, variables and futures by their numbers.
static STATES: Registry<Storage> = Registry::new();
static VARIABLES: Registry<Variable> = Registry::new();
static FUTURES: Registry<OperationFuture> = Registry::new();

/// A caller that waits notices after this time that its thread is interrupted.
const SLICE: Duration = Duration::from_millis(200);

fn number(env: &mut Env<'_>, this: &JObject<'_>, field: &JNIStr) -> Result<i64, NativeError> {
    Ok(env.get_field(this, field, jni_sig!("J"))?.j()?)
}

/// `unit.toMillis(time)`; negative times are none.
fn time(env: &mut Env<'_>, time: jlong, unit: &JObject<'_>) -> Result<Duration, NativeError> {
    let millis = env.call_method(unit, jni_str!("toMillis"), jni_sig!("(J)J"), &[JValue::Long(time)])?.j()?;
    Ok(Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
}

/// Opens a state of ZooKeeper.
fn open(
    env: &mut Env<'_>,
    this: &JObject<'_>,
    (servers, znode): (&JString<'_>, &JString<'_>),
    timeout: Duration,
    authentication: Option<Authentication>,
) -> Result<(), NativeError> {
    crate::log::init();
    let servers = servers.try_to_string(env)?;
    let znode = znode.try_to_string(env)?.trim_end_matches('/').to_owned();
    let servers = match master::servers(&servers) {
        Ok(servers) => servers,
        Err(reason) => {
            let message = format!("Failed to parse the ZooKeeper servers '{servers}': {reason}");
            return Err(throw(env, "java/lang/IllegalArgumentException", &message));
        }
    };
    let session = SessionOptions { timeout, authentication };
    let state = Storage::open(StorageOptions { servers, znode, session })?;
    Ok(env.set_field(this, jni_str!("__state"), jni_sig!("J"), JValue::Long(STATES.add(state)))?)
}

#[jni_mangle(
    "org.apache.mesos.state.ZooKeeperState",
    "initialize",
    "(Ljava/lang/String;JLjava/util/concurrent/TimeUnit;Ljava/lang/String;)V"
)]
pub extern "system" fn initialize<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    servers: JString<'local>,
    timeout: jlong,
    unit: JObject<'local>,
    znode: JString<'local>,
) {
    void(env, |env| {
        let timeout = time(env, timeout, &unit)?;
        open(env, &this, (&servers, &znode), timeout, None)
    });
}

#[jni_mangle(
    "org.apache.mesos.state.ZooKeeperState",
    "initialize",
    "(Ljava/lang/String;JLjava/util/concurrent/TimeUnit;Ljava/lang/String;Ljava/lang/String;[B)V"
)]
#[allow(clippy::too_many_arguments)]
pub extern "system" fn initialize_authenticated<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    servers: JString<'local>,
    timeout: jlong,
    unit: JObject<'local>,
    znode: JString<'local>,
    scheme: JString<'local>,
    credentials: JByteArray<'local>,
) {
    void(env, |env| {
        let timeout = time(env, timeout, &unit)?;
        let authentication = if scheme.is_null() || credentials.is_null() {
            None
        } else {
            let scheme = scheme.try_to_string(env)?;
            Some(Authentication { scheme, credentials: env.convert_byte_array(&credentials)? })
        };
        open(env, &this, (&servers, &znode), timeout, authentication)
    });
}

#[jni_mangle("org.apache.mesos.state.AbstractState", "finalize")]
pub extern "system" fn finalize<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    void(env, |env| {
        let number = number(env, &this, jni_str!("__state"))?;
        // What is not done fails.
        drop(STATES.remove(number));
        Ok(())
    });
}

/// Starts an operation and returns the number of its future.
fn start<'local>(
    mut env: EnvUnowned<'local>,
    this: &JObject<'local>,
    operation: impl FnOnce(&mut Env<'local>) -> Result<Operation, NativeError>,
) -> jlong {
    env.with_env(|env| -> Result<jlong, NativeError> {
        let state = number(env, this, jni_str!("__state"))?;
        let state = STATES.get(state).ok_or(NativeError::NoState)?;
        let operation = operation(env)?;
        Ok(FUTURES.add_shared(state.start(operation)))
    })
    .resolve::<Throw>()
}

fn variable(env: &mut Env<'_>, this: &JObject<'_>) -> Result<Arc<Variable>, NativeError> {
    let number = number(env, this, jni_str!("__variable"))?;
    VARIABLES.get(number).ok_or(NativeError::NoVariable)
}

#[jni_mangle("org.apache.mesos.state.AbstractState", "__fetch")]
pub extern "system" fn fetch<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    name: JString<'local>,
) -> jlong {
    start(env, &this, |env| Ok(Operation::Fetch(name.try_to_string(env)?)))
}

#[jni_mangle("org.apache.mesos.state.AbstractState", "__store")]
pub extern "system" fn store<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    stored: JObject<'local>,
) -> jlong {
    start(env, &this, |env| Ok(Operation::Store(variable(env, &stored)?.as_ref().clone())))
}

#[jni_mangle("org.apache.mesos.state.AbstractState", "__expunge")]
pub extern "system" fn expunge<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    expunged: JObject<'local>,
) -> jlong {
    start(env, &this, |env| Ok(Operation::Expunge(variable(env, &expunged)?.as_ref().clone())))
}

#[jni_mangle("org.apache.mesos.state.AbstractState", "__names")]
pub extern "system" fn names<'local>(env: EnvUnowned<'local>, this: JObject<'local>) -> jlong {
    start(env, &this, |_| Ok(Operation::Names))
}

/// A Java variable.
fn java_variable<'local>(env: &mut Env<'local>, variable: Variable) -> Result<JObject<'local>, NativeError> {
    let object = env.new_object(jni_str!("org/apache/mesos/state/Variable"), jni_sig!("()V"), &[])?;
    let number = JValue::Long(VARIABLES.add(variable));
    env.set_field(&object, jni_str!("__variable"), jni_sig!("J"), number)?;
    Ok(object)
}

#[jni_mangle("org.apache.mesos.state.Variable", "value")]
pub extern "system" fn value<'local>(
    mut env: EnvUnowned<'local>,
    this: JObject<'local>,
) -> JByteArray<'local> {
    env.with_env(|env| -> Result<JByteArray<'local>, NativeError> {
        let variable = variable(env, &this)?;
        Ok(env.byte_array_from_slice(variable.value())?)
    })
    .resolve::<Throw>()
}

#[jni_mangle("org.apache.mesos.state.Variable", "mutate")]
pub extern "system" fn mutate<'local>(
    mut env: EnvUnowned<'local>,
    this: JObject<'local>,
    value: JByteArray<'local>,
) -> JObject<'local> {
    env.with_env(|env| -> Result<JObject<'local>, NativeError> {
        let variable = variable(env, &this)?;
        let value = env.convert_byte_array(&value)?;
        java_variable(env, variable.mutate(value.into()))
    })
    .resolve::<Throw>()
}

#[jni_mangle("org.apache.mesos.state.Variable", "finalize")]
pub extern "system" fn finalize_variable<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    void(env, |env| {
        let number = number(env, &this, jni_str!("__variable"))?;
        drop(VARIABLES.remove(number));
        Ok(())
    });
}

fn future(env: &mut Env<'_>, this: &JObject<'_>) -> Result<Arc<OperationFuture>, NativeError> {
    let number = number(env, this, jni_str!("future"))?;
    FUTURES.get(number).ok_or(NativeError::NoFuture)
}

/// `cancel`: as in Mesos, it is never said that it has succeeded, because nobody knows yet.
fn cancel(mut env: EnvUnowned<'_>, this: &JObject<'_>, interrupt: bool) -> jboolean {
    env.with_env(|env| -> Result<jboolean, NativeError> {
        if interrupt {
            future(env, this)?.discard();
        }
        Ok(false)
    })
    .resolve::<Throw>()
}

fn is_done(mut env: EnvUnowned<'_>, this: &JObject<'_>) -> jboolean {
    env.with_env(|env| -> Result<jboolean, NativeError> { Ok(future(env, this)?.is_done()) })
        .resolve::<Throw>()
}

/// `get`, which ends early if its thread is interrupted.
fn get<'local>(
    mut env: EnvUnowned<'local>,
    this: &JObject<'local>,
    limit: Option<(jlong, &JObject<'local>)>,
) -> JObject<'local> {
    env.with_env(|env| -> Result<JObject<'local>, NativeError> {
        let future = future(env, this)?;
        let deadline = match limit {
            Some((length, unit)) => Instant::now().checked_add(time(env, length, unit)?),
            None => None,
        };
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if let Some(outcome) = future.wait(left.map_or(SLICE, |left| left.min(SLICE))) {
                return to_java(env, outcome);
            }
            if left.is_some_and(|left| left <= SLICE) {
                let message = "Failed to wait for future within timeout";
                return Err(throw(env, "java/util/concurrent/TimeoutException", message));
            }
            let thread = jni_str!("java/lang/Thread");
            if env.call_static_method(thread, jni_str!("interrupted"), jni_sig!("()Z"), &[])?.z()? {
                return Err(throw(env, "java/lang/InterruptedException", "Interrupted while waiting"));
            }
        }
    })
    .resolve::<Throw>()
}

/// What `get` returns or throws.
fn to_java<'local>(
    env: &mut Env<'local>,
    outcome: Result<Outcome, Failure>,
) -> Result<JObject<'local>, NativeError> {
    match outcome {
        Ok(Outcome::Variable(Some(variable))) => java_variable(env, variable),
        Ok(Outcome::Variable(None)) => Ok(JObject::null()),
        Ok(Outcome::Expunged(expunged)) => {
            let (class, signature) = (jni_str!("java/lang/Boolean"), jni_sig!("(Z)Ljava/lang/Boolean;"));
            let arguments = [JValue::Bool(expunged)];
            Ok(env.call_static_method(class, jni_str!("valueOf"), signature, &arguments)?.l()?)
        }
        Ok(Outcome::Names(names)) => {
            let list = env.new_object(jni_str!("java/util/ArrayList"), jni_sig!("()V"), &[])?;
            for name in names {
                let name = env.new_string(name)?.auto();
                let arguments = [JValue::Object(&name)];
                env.call_method(&list, jni_str!("add"), jni_sig!("(Ljava/lang/Object;)Z"), &arguments)?;
            }
            let signature = jni_sig!("()Ljava/util/Iterator;");
            Ok(env.call_method(&list, jni_str!("iterator"), signature, &[])?.l()?)
        }
        Err(Failure::Failed(message)) => Err(throw(env, "java/util/concurrent/ExecutionException", &message)),
        Err(Failure::Discarded) => {
            Err(throw(env, "java/util/concurrent/CancellationException", "Future was discarded"))
        }
    }
}

/// The native methods of a class of futures. `get` is overloaded, so both forms have their long names.
macro_rules! future_class {
    ($module:ident, $class:tt, $get:tt, $get_timeout:tt) => {
        mod $module {
            use super::*;

            #[jni_mangle($class, "cancel")]
            pub extern "system" fn cancel<'local>(
                env: EnvUnowned<'local>,
                this: JObject<'local>,
                interrupt: jboolean,
            ) -> jboolean {
                super::cancel(env, &this, interrupt)
            }

            #[jni_mangle($class, "isCancelled")]
            pub extern "system" fn is_cancelled<'local>(
                _env: EnvUnowned<'local>,
                _this: JObject<'local>,
            ) -> jboolean {
                false
            }

            #[jni_mangle($class, "isDone")]
            pub extern "system" fn is_done<'local>(
                env: EnvUnowned<'local>,
                this: JObject<'local>,
            ) -> jboolean {
                super::is_done(env, &this)
            }

            #[jni_mangle($class, "get", $get)]
            pub extern "system" fn get<'local>(
                env: EnvUnowned<'local>,
                this: JObject<'local>,
            ) -> JObject<'local> {
                super::get(env, &this, None)
            }

            #[jni_mangle($class, "get", $get_timeout)]
            pub extern "system" fn get_timeout<'local>(
                env: EnvUnowned<'local>,
                this: JObject<'local>,
                timeout: jlong,
                unit: JObject<'local>,
            ) -> JObject<'local> {
                super::get(env, &this, Some((timeout, &unit)))
            }

            #[jni_mangle($class, "finalize")]
            pub extern "system" fn finalize<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
                void(env, |env| {
                    let number = number(env, &this, jni_str!("future"))?;
                    drop(FUTURES.remove(number));
                    Ok(())
                });
            }
        }
    };
}

future_class!(
    fetch_future,
    "org.apache.mesos.state.AbstractState$FetchFuture",
    "()Lorg/apache/mesos/state/Variable;",
    "(JLjava/util/concurrent/TimeUnit;)Lorg/apache/mesos/state/Variable;"
);
future_class!(
    store_future,
    "org.apache.mesos.state.AbstractState$StoreFuture",
    "()Lorg/apache/mesos/state/Variable;",
    "(JLjava/util/concurrent/TimeUnit;)Lorg/apache/mesos/state/Variable;"
);
future_class!(
    expunge_future,
    "org.apache.mesos.state.AbstractState$ExpungeFuture",
    "()Ljava/lang/Boolean;",
    "(JLjava/util/concurrent/TimeUnit;)Ljava/lang/Boolean;"
);
future_class!(
    names_future,
    "org.apache.mesos.state.AbstractState$NamesFuture",
    "()Ljava/util/Iterator;",
    "(JLjava/util/concurrent/TimeUnit;)Ljava/util/Iterator;"
);
