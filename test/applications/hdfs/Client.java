import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.util.Arrays;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * A user of HDFS, with the client's defaults.
 *
 * <pre>
 * Client write DIRECTORY   one small file after another, until SIGTERM
 * Client read  DIRECTORY   every file
 * </pre>
 *
 * write prints "MILLISECONDS written N" for each file that was closed, and
 * "MILLISECONDS failed N REASON" for one that was not; read prints the numbers of
 * those whose content is right.
 */
public class Client {
    private static volatile boolean ended;

    public static void main(String[] args) throws Exception {
        // Hadoop closes file systems at SIGTERM, the one that writes too early.
        Configuration config = new Configuration();
        config.setBoolean("fs.automatic.close", false);
        FileSystem fs = FileSystem.get(config);
        Path directory = new Path(args[1]);
        switch (args[0]) {
            case "write":
                write(fs, directory);
                break;
            case "read":
                read(fs, directory);
                break;
            default:
                throw new IllegalArgumentException(args[0]);
        }
    }

    private static void write(FileSystem fs, Path directory) throws Exception {
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
            try (FSDataOutputStream out = fs.create(new Path(directory, "" + n))) {
                out.write(content(n));
            } catch (IOException e) {
                result = "failed " + n + " " + e.toString().replace('\n', ' ');
            }
            System.out.println(System.currentTimeMillis() + " " + result);
            Thread.sleep(20);
        }
    }

    private static void read(FileSystem fs, Path directory) throws IOException {
        for (FileStatus file : fs.listStatus(directory)) {
            String name = file.getPath().getName();
            byte[] want = content(Integer.parseInt(name));
            byte[] got = new byte[want.length];
            if (file.getLen() != want.length) {
                continue; // one that could not be written
            }
            try (FSDataInputStream in = fs.open(file.getPath())) {
                in.readFully(0, got);
            }
            if (Arrays.equals(got, want)) {
                System.out.println(name);
            }
        }
    }

    private static byte[] content(int n) {
        return ("file " + n + "\n").repeat(100).getBytes(UTF_8);
    }
}
