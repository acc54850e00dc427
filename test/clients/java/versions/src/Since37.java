import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.TreeSet;
import org.apache.zookeeper.data.ClientInfo;

/** What came with 3.7: whoAmI. */
public final class Since37 implements Part {
    @Override
    public void run(Client one, Client two, String base) throws Exception {
        one.zk.addAuthInfo("digest", "bob:secret".getBytes(UTF_8));
        TreeSet<String> who = new TreeSet<>();
        for (ClientInfo info : one.zk.whoAmI()) {
            who.add(info.getAuthScheme() + ":" + info.getUser());
        }
        Check.want("whoAmI", who.toString(), "[digest:alice, digest:bob, ip:127.0.0.1]");
    }
}
