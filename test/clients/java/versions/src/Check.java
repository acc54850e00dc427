import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.zookeeper.KeeperException;

/** What a program of this folder has found. */
final class Check {
    private static final AtomicBoolean failed = new AtomicBoolean();

    private Check() {
    }

    /** A call that the server may refuse. */
    interface Call {
        Object run() throws Exception;
    }

    static void want(String what, Object got, Object wanted) {
        if (!got.equals(wanted)) {
            failed.set(true);
            System.out.println("failed " + what + ": got " + got + ", want " + wanted);
        }
    }

    static void wantRefusal(String what, KeeperException.Code wanted, Call call) throws Exception {
        try {
            want(what, call.run() + ", no refusal", wanted);
        } catch (KeeperException e) {
            want(what, e.code(), wanted);
        }
    }

    static void fail(Exception e) {
        failed.set(true);
        e.printStackTrace(System.out);
    }

    static boolean failed() {
        return failed.get();
    }
}
