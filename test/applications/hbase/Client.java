import java.io.IOException;

import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.NamespaceDescriptor;
import org.apache.hadoop.hbase.NamespaceExistException;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptorBuilder;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.client.Put;
import org.apache.hadoop.hbase.client.Result;
import org.apache.hadoop.hbase.client.ResultScanner;
import org.apache.hadoop.hbase.client.Scan;
import org.apache.hadoop.hbase.client.Table;
import org.apache.hadoop.hbase.client.TableDescriptorBuilder;
import org.apache.hadoop.hbase.util.Bytes;

/**
 * A user of HBase, with the client's defaults.
 *
 * <pre>
 * Client create            a table of eight regions
 * Client write rows        one row after another, to each region in turn, until SIGTERM
 * Client read rows         every row
 * Client write namespaces  one namespace after another, which the master makes, until SIGTERM
 * Client read namespaces   every namespace
 * </pre>
 *
 * write prints "MILLISECONDS written N" for each that was acknowledged, and
 * "MILLISECONDS failed N REASON" for one that was not; read prints the numbers.
 */
public class Client {
    private static final TableName TABLE = TableName.valueOf("rows");
    private static final byte[] FAMILY = Bytes.toBytes("f");
    private static final byte[] COLUMN = Bytes.toBytes("c");
    private static final int REGIONS = 8;
    private static volatile boolean ended;

    public static void main(String[] args) throws Exception {
        try (Connection connection = ConnectionFactory.createConnection(HBaseConfiguration.create());
                Admin admin = connection.getAdmin();
                Table table = connection.getTable(TABLE)) {
            switch (String.join(" ", args)) {
                case "create":
                    create(admin);
                    break;
                case "write rows":
                    write(5, n -> table.put(new Put(Bytes.toBytes(n % REGIONS + "-" + n))
                            .addColumn(FAMILY, COLUMN, Bytes.toBytes(n))));
                    break;
                case "read rows":
                    try (ResultScanner rows = table.getScanner(new Scan())) {
                        for (Result row : rows) {
                            System.out.println(Bytes.toInt(row.getValue(FAMILY, COLUMN)));
                        }
                    }
                    break;
                case "write namespaces":
                    write(200, n -> createNamespace(admin, n));
                    break;
                case "read namespaces":
                    for (NamespaceDescriptor namespace : admin.listNamespaceDescriptors()) {
                        if (namespace.getName().startsWith("number")) {
                            System.out.println(namespace.getName().substring("number".length()));
                        }
                    }
                    break;
                default:
                    throw new IllegalArgumentException(String.join(" ", args));
            }
        }
    }

    private static void create(Admin admin) throws IOException {
        byte[][] splits = new byte[REGIONS - 1][];
        for (int i = 1; i < REGIONS; i++) {
            splits[i - 1] = Bytes.toBytes("" + i);
        }
        admin.createTable(TableDescriptorBuilder.newBuilder(TABLE)
                .setColumnFamily(ColumnFamilyDescriptorBuilder.of(FAMILY)).build(), splits);
    }

    private static void createNamespace(Admin admin, int n) throws IOException {
        try {
            admin.createNamespace(NamespaceDescriptor.create("number" + n).build());
        } catch (NamespaceExistException e) {
            // The client asked a second master for what the first had begun.
        }
    }

    private interface Write {
        void number(int n) throws IOException;
    }

    private static void write(long pause, Write one) throws InterruptedException {
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            ended = true;
            try {
                main.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        for (int n = 0; !ended; n++) {
            String result = "written " + n;
            try {
                one.number(n);
            } catch (IOException e) {
                result = "failed " + n + " " + e.toString().replace('\n', ' ');
            }
            System.out.println(System.currentTimeMillis() + " " + result);
            Thread.sleep(pause);
        }
    }
}
