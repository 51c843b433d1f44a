package topology

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// MySQLRole is the statement that tells the role of a MySQL or MariaDB; [MySQLRoleOf] reads its
// answer. It reads two global variables that every user may read and every version has, and
// changes nothing of the session. Where super_read_only is on, read_only is (MySQL Reference
// Manual, "Server System Variables"); the readers of Aurora have innodb_read_only on.
const MySQLRole = "SELECT @@global.innodb_read_only, @@global.read_only"

// MySQLRoleOf reads the answer to [MySQLRole]. read_only is more than off and on in MariaDB from
// 12.0, and whatever is not off is a reader.
func MySQLRoleOf(rows [][]string) Role {
	if len(rows) != 1 || len(rows[0]) != 2 {
		return Unknown
	}
	off := func(value string) bool { return value == "0" || strings.EqualFold(value, "OFF") }
	if off(rows[0][0]) && off(rows[0][1]) {
		return Writer
	}
	return Reader
}

// RoleMySQL asks a MySQL or MariaDB what it is; id tells it from all others that replicate
// from each other, whatever address it is reached at.
func RoleMySQL(ctx context.Context, s Session) (role Role, id string, err error) {
	rows, err := s.Query(ctx, MySQLRole+", CONCAT_WS(' ', @@global.hostname, @@global.port, @@global.server_id)")
	if err != nil {
		return Unknown, "", err
	}
	if len(rows) != 1 || len(rows[0]) != 3 {
		return Unknown, "", fmt.Errorf("the database answers the question for its role with %d rows", len(rows))
	}
	return MySQLRoleOf([][]string{rows[0][:2]}), rows[0][2], nil
}

// bounded makes a statement end after askTimeout: by a hint in MySQL, which is a comment to
// MariaDB, and by SET STATEMENT in MariaDB, which is a comment to MySQL.
func bounded(rest string) string {
	return fmt.Sprintf("/*M! SET STATEMENT max_statement_time=%d FOR */ SELECT /*+ MAX_EXECUTION_TIME(%d) */ %s",
		int(askTimeout.Seconds()), askTimeout.Milliseconds(), rest)
}

// AskMySQL asks a MySQL or MariaDB at a place for its role, and for the other servers where it
// knows them: Aurora, a Multi-AZ DB cluster or a Blue/Green deployment of RDS. hosts are
// further places of the database by its configuration: an instance is looked for among them
// too. Nothing of the session changes.
//
// Each statement about other servers ends after a second; what the server refuses, as for want
// of SELECT on mysql.rds_topology, or is too slow to say is left out. An error is the
// connection's, or the server will not tell its own role; the answer then holds what was
// learned before it.
func AskMySQL(ctx context.Context, s Session, at Place, hosts ...Place) (Answer, error) {
	var a Answer
	rows, err := s.Query(ctx, MySQLRole)
	if err != nil {
		return a, fmt.Errorf("ask for the server's role: %w", err)
	}
	a.Self = MySQLRoleOf(rows)
	in := append(scope{at}, hosts...)
	for _, ask := range []func(context.Context, Session, scope) error{a.askAuroraMySQL, a.askRDSMySQL} {
		if err := ask(ctx, s, in); err != nil {
			return a, fmt.Errorf("ask for the topology: %w", err)
		}
	}
	return a, nil
}

// askAuroraMySQL asks for Aurora's list of instances. The variable is looked for as a pattern,
// which no server answers with an error.
func (a *Answer) askAuroraMySQL(ctx context.Context, s Session, in scope) error {
	rows, err := a.optional(s.Query(ctx, "SHOW GLOBAL VARIABLES LIKE 'aurora_server_id'"))
	if err != nil || len(rows) != 1 || len(rows[0]) != 2 {
		return err
	}
	a.setName(rows[0][1])
	rows, err = a.optional(s.Query(ctx, bounded(fmt.Sprintf("server_id, session_id, replica_lag_in_milliseconds, "+
		"UNIX_TIMESTAMP(last_update_timestamp) FROM information_schema.replica_host_status LIMIT %d", MaxInstances))))
	a.addAurora(rows, in)
	return err
}

// askRDSMySQL reads mysql.rds_topology, of which information_schema shows the columns that the
// user may read.
func (a *Answer) askRDSMySQL(ctx context.Context, s Session, in scope) error {
	rows, err := a.optional(s.Query(ctx, bounded("LOWER(column_name) FROM information_schema.columns "+
		"WHERE table_schema = 'mysql' AND table_name = 'rds_topology'")))
	if err != nil || len(rows) == 0 {
		return err
	}
	columns := slices.Clone(memberColumns)
	for i, name := range columns {
		if !slices.ContainsFunc(rows, func(row []string) bool { return slices.Equal(row, []string{name}) }) {
			columns[i] = "''"
		}
	}
	rows, err = a.optional(s.Query(ctx, bounded(fmt.Sprintf("%s FROM mysql.rds_topology LIMIT %d", strings.Join(columns, ", "), MaxInstances))))
	if err != nil {
		return err
	}
	var members []member
	for _, row := range rows {
		if len(row) == len(memberColumns) {
			members = append(members, member{ID: text(row[0]), Endpoint: text(row[1]), Port: text(row[2]), Role: text(row[3]), Status: text(row[4])})
		}
	}
	a.addDeployment(members, in)
	if len(a.Instances) > 0 || !slices.ContainsFunc(members, func(m member) bool { return m.Role == "" }) {
		return nil // Aurora, or a deployment alone
	}
	self, writer, err := a.writerOfCluster(ctx, s)
	a.nameMember(members, self)
	a.addCluster(members, writer, in)
	return err
}

// writerOfCluster is the server's own id in a Multi-AZ DB cluster and that of the writer, as far
// as it tells: a reader knows its source, but says so only to users with REPLICATION CLIENT.
func (a *Answer) writerOfCluster(ctx context.Context, s Session) (self, writer string, err error) {
	rows, err := a.optional(s.Query(ctx, "SELECT @@global.server_id"))
	if err != nil || len(rows) != 1 || len(rows[0]) != 1 {
		return "", "", err
	}
	self = rows[0][0]
	if a.Self == Writer {
		return self, self, nil
	}
	const sourceServerID = 39 // the column Source_Server_Id, in all versions that RDS has clusters of
	rows, err = a.optional(s.Query(ctx, "SHOW REPLICA STATUS"))
	if err != nil || len(rows) != 1 || len(rows[0]) <= sourceServerID || rows[0][sourceServerID] == "0" {
		return self, "", err
	}
	return self, rows[0][sourceServerID], nil
}
