//! What happens when Java loads the library: `MesosNativeLibrary` expects that the library itself notes that it is loaded. Without
//! that, `version()` throws, and with it everything in `org.apache.mesos.state`.

use std::ffi::c_void;

use jni::{
    Env, JValue, JavaVM,
    errors::Error,
    jni_sig, jni_str,
    sys::{self, jint},
};

use super::callbacks::with_daemon;

#[unsafe(no_mangle)]
#[allow(non_snake_case, missing_docs)]
pub extern "system" fn JNI_OnLoad(vm: *mut sys::JavaVM, _reserved: *mut c_void) -> jint {
    if !vm.is_null() {
        // SAFETY: the pointer is the JVM's, which calls this.
        let vm = unsafe { JavaVM::from_raw(vm) };
        // A program may load the library without the class, or with a loader that does not see it.
        let _ = with_daemon(&vm, note);
    }
    sys::JNI_VERSION_1_8
}

fn note(env: &mut Env<'_>) -> Result<(), Error> {
    let class = jni_str!("org/apache/mesos/MesosNativeLibrary");
    let noted = env.set_static_field(class, jni_str!("loaded"), jni_sig!("Z"), JValue::Bool(true));
    env.exception_clear();
    noted
}
