/*
 * The state of Mesos' Java library in ZooKeeper, run from its source with the library's jar:
 *
 *   java -cp mesos.jar StateProgram.java SERVERS
 *
 * It prints what each operation leads to, one line each. After "ready" it waits for a line on the standard input.
 */

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.mesos.Log;
import org.apache.mesos.MesosNativeLibrary;
import org.apache.mesos.state.LevelDBState;
import org.apache.mesos.state.LogState;
import org.apache.mesos.state.State;
import org.apache.mesos.state.Variable;
import org.apache.mesos.state.ZooKeeperState;

public final class StateProgram {
  public static void main(String[] arguments) throws Exception {
    String servers = arguments[0];
    State state = new ZooKeeperState(servers, 10, TimeUnit.SECONDS, "/own/state");
    say("version", () -> version());
    say("names before", () -> names(state));
    Variable first = state.fetch("x").get();
    say("new", () -> text(first));
    Variable second = state.store(first.mutate(bytes("one"))).get();
    say("stored", () -> text(second));
    say("fetched", () -> text(state.fetch("x").get(10, TimeUnit.SECONDS)));
    Variable third = state.store(second.mutate(bytes("two"))).get();
    say("stale", () -> text(state.store(second.mutate(bytes("three"))).get()));
    say("names", () -> names(state));
    say("stale expunged", () -> state.expunge(second).get());
    say("too big", () -> state.store(third.mutate(new byte[1 << 20])).get());
    authentication(servers, state);
    away();
    others();
    say("ready", () -> System.in.read() >= 0);
    say("after a restart", () -> text(state.fetch("x").get()));
    say("expunged", () -> state.expunge(third).get());
    say("expunged again", () -> state.expunge(third).get());
    Future<Variable> future = state.fetch("x");
    future.get();
    say("done", () -> future.isDone() + " " + future.isCancelled());
    System.gc();
    System.runFinalization();
    say("end", () -> names(state));
  }

  /** States with credentials: others may read and not write. */
  private static void authentication(String servers, State other) throws Exception {
    State own = new ZooKeeperState(servers, 10, TimeUnit.SECONDS, "/secret", "digest", bytes("user:password"));
    Variable variable = own.store(own.fetch("y").get().mutate(bytes("s"))).get();
    State everybody = new ZooKeeperState(servers, 10, TimeUnit.SECONDS, "/secret/");
    say("read by others", () -> text(everybody.fetch("y").get()));
    say("written by others", () -> everybody.store(variable.mutate(bytes("t"))).get());
    State unknown = new ZooKeeperState(servers, 10, TimeUnit.SECONDS, "/secret", "no-scheme", bytes("x"));
    say("unknown scheme", () -> text(unknown.fetch("y").get(20, TimeUnit.SECONDS)));
    say("no servers", () -> new ZooKeeperState("a b", 10, TimeUnit.SECONDS, "/x"));
  }

  /** An ensemble that is away: callers wait as long as they want. */
  private static void away() throws Exception {
    State state = new ZooKeeperState("127.0.0.1:1", 10, TimeUnit.SECONDS, "/x");
    Future<Variable> future = state.fetch("z");
    say("away", () -> future.get(300, TimeUnit.MILLISECONDS));
    Thread.currentThread().interrupt();
    say("interrupted", () -> future.get());
    say("cancel", () -> future.cancel(true) + " " + future.isDone());
    say("cancelled", () -> future.get());
  }

  private static void others() {
    say("leveldb", () -> new LevelDBState("/tmp/none"));
    say("log state", () -> new LogState("a:1", 1, TimeUnit.SECONDS, "/x", 1, "/tmp/none"));
    say("log", () -> new Log(1, "/tmp/none", Set.of()));
    say("reader", () -> new Log.Reader(null));
  }

  private static String version() {
    MesosNativeLibrary.Version version = MesosNativeLibrary.version();
    return version.major + "." + version.minor + "." + version.patch;
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static String text(Variable variable) {
    return variable == null ? "null" : "'" + new String(variable.value(), StandardCharsets.UTF_8) + "'";
  }

  private static String names(State state) throws Exception {
    List<String> found = new ArrayList<>();
    for (Iterator<String> names = state.names().get(); names.hasNext(); ) {
      found.add(names.next());
    }
    return found.toString();
  }

  private static void say(String what, Callable<?> operation) {
    String outcome;
    try {
      outcome = String.valueOf(operation.call());
    } catch (Exception | LinkageError thrown) {
      outcome = thrown.getClass().getSimpleName() + " " + thrown.getMessage();
    }
    System.out.println(what + ": " + outcome);
    System.out.flush();
  }
}
