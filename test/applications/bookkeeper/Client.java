import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.bookkeeper.client.api.BookKeeper;
import org.apache.bookkeeper.client.api.DigestType;
import org.apache.bookkeeper.client.api.LedgerEntries;
import org.apache.bookkeeper.client.api.LedgerEntry;
import org.apache.bookkeeper.client.api.LedgersIterator;
import org.apache.bookkeeper.client.api.ReadHandle;
import org.apache.bookkeeper.client.api.WriteHandle;
import org.apache.bookkeeper.conf.ClientConfiguration;

/**
 * A user of BookKeeper, with the client's defaults.
 *
 * <pre>
 * Client write METADATA   one entry after another, until SIGTERM
 * Client read  METADATA   every entry of every ledger
 * </pre>
 *
 * Every entry is on two bookies before it is acknowledged. write begins a ledger
 * every fifty entries, so the metadata store is in its way. It prints
 * "MILLISECONDS written N" for each entry that was acknowledged, and "MILLISECONDS
 * failed N REASON" for one that was not; read prints the numbers, in order.
 */
public class Client {
    private static final byte[] PASSWORD = new byte[0];
    private static volatile boolean ended;

    public static void main(String[] args) throws Exception {
        ClientConfiguration config = new ClientConfiguration();
        config.setMetadataServiceUri(args[1]);
        try (BookKeeper bookkeeper = BookKeeper.newBuilder(config).build()) {
            switch (args[0]) {
                case "write":
                    write(bookkeeper);
                    break;
                case "read":
                    read(bookkeeper);
                    break;
                default:
                    throw new IllegalArgumentException(args[0]);
            }
        }
    }

    private static void write(BookKeeper bookkeeper) throws Exception {
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            ended = true;
            try {
                main.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        WriteHandle ledger = null;
        for (int n = 0; !ended; n++) {
            String result = "written " + n;
            try {
                if (ledger != null && n % 50 == 0) {
                    ledger.close();
                    ledger = null;
                }
                if (ledger == null) {
                    ledger = bookkeeper.newCreateLedgerOp().withEnsembleSize(2).withWriteQuorumSize(2)
                        .withAckQuorumSize(2).withDigestType(DigestType.CRC32C).withPassword(PASSWORD)
                        .execute().get();
                }
                ledger.append(String.valueOf(n).getBytes(UTF_8));
            } catch (Exception e) {
                result = "failed " + n + " " + e;
                ledger = null;
            }
            System.out.println(System.currentTimeMillis() + " " + result);
            TimeUnit.MILLISECONDS.sleep(20);
        }
        if (ledger != null) {
            ledger.close();
        }
    }

    private static void read(BookKeeper bookkeeper) throws Exception {
        List<Long> ledgers = new ArrayList<>();
        LedgersIterator all = bookkeeper.newListLedgersOp().execute().get().iterator();
        while (all.hasNext()) {
            ledgers.add(all.next());
        }
        ledgers.sort(null);
        for (long id : ledgers) {
            try (ReadHandle ledger = bookkeeper.newOpenLedgerOp().withLedgerId(id).withRecovery(true)
                    .withDigestType(DigestType.CRC32C).withPassword(PASSWORD).execute().get()) {
                if (ledger.getLastAddConfirmed() < 0) {
                    continue;
                }
                try (LedgerEntries entries = ledger.read(0, ledger.getLastAddConfirmed())) {
                    for (LedgerEntry entry : entries) {
                        System.out.println(new String(entry.getEntryBytes(), UTF_8));
                    }
                }
            }
        }
    }
}
