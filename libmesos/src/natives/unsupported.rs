//! Classes of Mesos' Java library that this library does not have. Their constructors say so; their finalizers, which Java runs for
//! objects whose constructor has thrown, do nothing.

use jni::{
    EnvUnowned, jni_mangle,
    objects::JObject,
    sys::{jint, jlong},
};

use super::{throw, void};

/// Throws what the JVM throws for a missing native method, with a text that says what to do.
fn refuse(env: EnvUnowned<'_>, class: &str, advice: &str) {
    void(env, |env| {
        let message = format!("{class} is not supported by Catamaran's libmesos.so: {advice}");
        Err(throw(env, "java/lang/UnsatisfiedLinkError", &message))
    });
}

const OTHER_STATE: &str = "use org.apache.mesos.state.ZooKeeperState, or the libmesos.so of Mesos";
const OTHER_LOG: &str = "the replicated log needs the libmesos.so of Mesos";

#[jni_mangle("org.apache.mesos.state.LevelDBState", "initialize")]
pub extern "system" fn level_db_state<'local>(
    env: EnvUnowned<'local>,
    _this: JObject<'local>,
    _path: JObject<'local>,
) {
    refuse(env, "org.apache.mesos.state.LevelDBState", OTHER_STATE);
}

#[jni_mangle("org.apache.mesos.state.LogState", "initialize")]
#[allow(clippy::too_many_arguments)]
pub extern "system" fn log_state<'local>(
    env: EnvUnowned<'local>,
    _this: JObject<'local>,
    _servers: JObject<'local>,
    _timeout: jlong,
    _unit: JObject<'local>,
    _znode: JObject<'local>,
    _quorum: jlong,
    _path: JObject<'local>,
    _diffs: jint,
) {
    refuse(env, "org.apache.mesos.state.LogState", OTHER_STATE);
}

#[jni_mangle("org.apache.mesos.state.LogState", "finalize")]
pub extern "system" fn finalize_log_state<'local>(_env: EnvUnowned<'local>, _this: JObject<'local>) {}

#[jni_mangle("org.apache.mesos.Log", "initialize", "(ILjava/lang/String;Ljava/util/Set;)V")]
pub extern "system" fn log_of_replicas<'local>(
    env: EnvUnowned<'local>,
    _this: JObject<'local>,
    _quorum: jint,
    _path: JObject<'local>,
    _pids: JObject<'local>,
) {
    refuse(env, "org.apache.mesos.Log", OTHER_LOG);
}

#[jni_mangle(
    "org.apache.mesos.Log",
    "initialize",
    "(ILjava/lang/String;Ljava/lang/String;JLjava/util/concurrent/TimeUnit;Ljava/lang/String;)V"
)]
#[allow(clippy::too_many_arguments)]
pub extern "system" fn log_in_zookeeper<'local>(
    env: EnvUnowned<'local>,
    _this: JObject<'local>,
    _quorum: jint,
    _path: JObject<'local>,
    _servers: JObject<'local>,
    _timeout: jlong,
    _unit: JObject<'local>,
    _znode: JObject<'local>,
) {
    refuse(env, "org.apache.mesos.Log", OTHER_LOG);
}

#[jni_mangle(
    "org.apache.mesos.Log",
    "initialize",
    "(ILjava/lang/String;Ljava/lang/String;JLjava/util/concurrent/TimeUnit;Ljava/lang/String;Ljava/lang/String;[B)V"
)]
#[allow(clippy::too_many_arguments)]
pub extern "system" fn log_in_authenticated_zookeeper<'local>(
    env: EnvUnowned<'local>,
    _this: JObject<'local>,
    _quorum: jint,
    _path: JObject<'local>,
    _servers: JObject<'local>,
    _timeout: jlong,
    _unit: JObject<'local>,
    _znode: JObject<'local>,
    _scheme: JObject<'local>,
    _credentials: JObject<'local>,
) {
    refuse(env, "org.apache.mesos.Log", OTHER_LOG);
}

#[jni_mangle("org.apache.mesos.Log", "finalize")]
pub extern "system" fn finalize_log<'local>(_env: EnvUnowned<'local>, _this: JObject<'local>) {}

#[jni_mangle("org.apache.mesos.Log$Reader", "initialize")]
pub extern "system" fn reader<'local>(
    env: EnvUnowned<'local>,
    _this: JObject<'local>,
    _log: JObject<'local>,
) {
    refuse(env, "org.apache.mesos.Log.Reader", OTHER_LOG);
}

#[jni_mangle("org.apache.mesos.Log$Reader", "finalize")]
pub extern "system" fn finalize_reader<'local>(_env: EnvUnowned<'local>, _this: JObject<'local>) {}

#[jni_mangle("org.apache.mesos.Log$Writer", "initialize")]
pub extern "system" fn writer<'local>(
    env: EnvUnowned<'local>,
    _this: JObject<'local>,
    _log: JObject<'local>,
    _timeout: jlong,
    _unit: JObject<'local>,
    _retries: jint,
) {
    refuse(env, "org.apache.mesos.Log.Writer", OTHER_LOG);
}

#[jni_mangle("org.apache.mesos.Log$Writer", "finalize")]
pub extern "system" fn finalize_writer<'local>(_env: EnvUnowned<'local>, _this: JObject<'local>) {}
