/*
 * Each native method of Mesos' Java library that takes objects, with null for each of them, run from its source with the library's jar:
 *
 *   java -cp mesos.jar NullArguments.java
 *
 * It prints what each call throws, one line each, and "end" if the JVM has lived through all of them.
 */

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.apache.mesos.Executor;
import org.apache.mesos.MesosExecutorDriver;
import org.apache.mesos.MesosSchedulerDriver;
import org.apache.mesos.Protos.ExecutorID;
import org.apache.mesos.Protos.Filters;
import org.apache.mesos.Protos.FrameworkInfo;
import org.apache.mesos.Protos.OfferID;
import org.apache.mesos.Protos.SlaveID;
import org.apache.mesos.Protos.TaskInfo;
import org.apache.mesos.Scheduler;
import org.apache.mesos.state.State;
import org.apache.mesos.state.Variable;
import org.apache.mesos.state.ZooKeeperState;

public final class NullArguments {
  private static final Filters FILTERS = Filters.getDefaultInstance();

  public static void main(String[] arguments) throws Exception {
    scheduler();
    executor();
    state();
    System.out.println("end");
    // Threads of the state look for servers that are not there.
    System.exit(0);
  }

  private static void scheduler() {
    FrameworkInfo framework = FrameworkInfo.newBuilder().setUser("").setName("null").build();
    MesosSchedulerDriver driver =
        new MesosSchedulerDriver(nothing(Scheduler.class), framework, "127.0.0.1:1", false);
    OfferID offer = OfferID.newBuilder().setValue("o").build();
    List<OfferID> offers = List.of(offer);
    List<TaskInfo> none = List.of();
    say("requestResources", () -> driver.requestResources(null));
    say("requestResources of null", () -> driver.requestResources(ofNull()));
    say("reconcileTasks", () -> driver.reconcileTasks(null));
    say("reconcileTasks of null", () -> driver.reconcileTasks(ofNull()));
    say("launchTasks on no offer", () -> driver.launchTasks((OfferID) null, none, FILTERS));
    say("launchTasks without tasks", () -> driver.launchTasks(offer, null, FILTERS));
    say("launchTasks of null", () -> driver.launchTasks(offer, ofNull(), FILTERS));
    say("launchTasks on no offers", () -> driver.launchTasks((Collection<OfferID>) null, none, FILTERS));
    say("launchTasks on null", () -> driver.launchTasks(NullArguments.<OfferID>ofNull(), none, FILTERS));
    say("acceptOffers without offers", () -> driver.acceptOffers(null, List.of(), FILTERS));
    say("acceptOffers without operations", () -> driver.acceptOffers(offers, null, FILTERS));
    say("declineOffer", () -> driver.declineOffer(null, FILTERS));
    say("killTask", () -> driver.killTask(null));
    say("acknowledgeStatusUpdate", () -> driver.acknowledgeStatusUpdate(null));
    ExecutorID executor = ExecutorID.newBuilder().setValue("e").build();
    SlaveID agent = SlaveID.newBuilder().setValue("s").build();
    say("sendFrameworkMessage to no executor", () -> driver.sendFrameworkMessage(null, agent, new byte[0]));
    say("sendFrameworkMessage to no agent", () -> driver.sendFrameworkMessage(executor, null, new byte[0]));
    say("sendFrameworkMessage of nothing", () -> driver.sendFrameworkMessage(executor, agent, null));
    say("filters may be null", () -> driver.declineOffer(offer, null));
  }

  private static void executor() {
    MesosExecutorDriver driver = new MesosExecutorDriver(nothing(Executor.class));
    say("sendStatusUpdate", () -> driver.sendStatusUpdate(null));
    say("executor's sendFrameworkMessage", () -> driver.sendFrameworkMessage(null));
  }

  private static void state() throws Exception {
    say("state without servers", () -> new ZooKeeperState(null, 1, TimeUnit.SECONDS, "/x"));
    say("state without a unit", () -> new ZooKeeperState("127.0.0.1:1", 1, null, "/x"));
    say("state without a node", () -> new ZooKeeperState("127.0.0.1:1", 1, TimeUnit.SECONDS, null));
    State state = new ZooKeeperState("127.0.0.1:1", 1, TimeUnit.SECONDS, "/x");
    say("fetch", () -> state.fetch(null));
    say("store", () -> state.store((Variable) null));
    say("expunge", () -> state.expunge(null));
    say("get without a unit", () -> state.fetch("x").get(1, null));
  }

  /** A collection with a null in it. */
  private static <T> List<T> ofNull() {
    return Collections.singletonList(null);
  }

  /** Something that is called and does nothing. */
  private static <T> T nothing(Class<T> type) {
    InvocationHandler ignore = (proxy, method, arguments) -> null;
    return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, ignore));
  }

  private static void say(String what, Callable<Object> call) {
    String outcome;
    try {
      outcome = String.valueOf(call.call());
    } catch (Throwable thrown) {
      outcome = thrown.getClass().getSimpleName();
    }
    System.out.println(what + ": " + outcome);
  }
}
