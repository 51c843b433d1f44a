import java.sql.*;

/** MariaDB Connector/J with two hosts: java -cp JAR NextHost.java FIRST SECOND. Prints the user of the session. */
class NextHost {
    public static void main(String[] args) throws Exception {
        String url = "jdbc:mariadb:sequential://" + args[0] + "," + args[1] + "/?user=anybody&retriesAllDown=2";
        try (Connection c = DriverManager.getConnection(url)) {
            ResultSet r = c.createStatement().executeQuery("SELECT CURRENT_USER()");
            r.next();
            System.out.println(r.getString(1));
        }
    }
}
