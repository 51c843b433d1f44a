import java.io.PrintStream;
import java.sql.*;
import java.util.ArrayList;

/** pgjdbc: java -cp JAR PgJDBC.java HOST PORT. */
class PgJDBC {
    static final String TEXT = "na\u00efve \u65e5\u672c \ud83d\ude00";

    public static void main(String[] args) throws Exception {
        // From the first execution on the server prepares.
        String url = "jdbc:postgresql://" + args[0] + ":" + args[1] + "/postgres?user=anybody&password=left-over&prepareThreshold=1";
        try (Connection c = DriverManager.getConnection(url)) {
            PreparedStatement prepared = c.prepareStatement("SELECT ?::int + ?::int, ?::text");
            prepared.setInt(1, 40);
            prepared.setInt(2, 2);
            prepared.setString(3, TEXT);
            ResultSet r = prepared.executeQuery();
            r.next();
            int sum = r.getInt(1);
            String text = r.getString(2);
            Statement s = c.createStatement();
            s.execute("CREATE TEMP TABLE pgjdbc (t text)");
            c.setAutoCommit(false);
            PreparedStatement insert = c.prepareStatement("INSERT INTO pgjdbc VALUES (?)");
            insert.setString(1, "rolled back");
            insert.executeUpdate();
            c.rollback();
            insert.setString(1, TEXT);
            insert.executeUpdate();
            c.commit();
            c.setAutoCommit(true);
            var rows = new ArrayList<String>();
            for (r = s.executeQuery("SELECT t FROM pgjdbc"); r.next(); ) {
                rows.add('"' + r.getString(1) + '"');
            }
            r = s.executeQuery("SELECT current_user");
            r.next();
            String user = r.getString(1), error = "";
            try {
                s.executeQuery("SELECT * FROM nowhere");
            } catch (SQLException e) {
                error = e.getSQLState();
            }
            boolean valid = c.isValid(5);
            new PrintStream(System.out, true, "UTF-8").printf(
                "{\"sum\": %d, \"text\": \"%s\", \"rows\": %s, \"user\": \"%s\", \"error\": \"%s\", \"valid\": %b}%n", sum, text, rows, user, error, valid);
        }
    }
}
