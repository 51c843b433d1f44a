import java.sql.*;

/** pgjdbc: java -cp JAR MultiHost.java URL... prints the port of the server that each URL leads to, or the SQLSTATE. */
class MultiHost {
    public static void main(String[] args) {
        for (String url : args) {
            try (Connection c = DriverManager.getConnection(url)) {
                ResultSet r = c.createStatement().executeQuery("SELECT inet_server_port()");
                r.next();
                System.out.println(r.getInt(1));
            } catch (SQLException e) {
                System.out.println(e.getSQLState());
            }
        }
    }
}
