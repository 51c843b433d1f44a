package topology

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The statements for PostgreSQL name all with its schema, and use no operator without it: the
// search path is the user's.

// beforeAsking bounds each statement, and lets a standby answer a user whose transactions are
// serializable, which no standby has.
var beforeAsking = fmt.Sprintf("SET statement_timeout TO %d; SET default_transaction_isolation TO 'read committed'", askTimeout.Milliseconds())

// The functions that tell of other servers, where they are and may be called.
const (
	auroraStatus   = "aurora_replica_status"                      // Aurora
	auroraIdentity = "aurora_db_instance_identifier"              // Aurora
	auroraGreen    = "get_blue_green_fast_switchover_metadata"    // Aurora
	rdsTopology    = "show_topology"                              // RDS, of the extension rds_tools
	rdsWriter      = "multi_az_db_cluster_source_dbi_resource_id" // Multi-AZ DB clusters, of rds_tools
	rdsIdentity    = "dbi_resource_id"                            // RDS, of rds_tools
)

// postgresSelf asks for the server's own role, and for which of the functions it has.
var postgresSelf = `SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.array_to_string(ARRAY(
	SELECT p.proname::pg_catalog.text FROM pg_catalog.pg_proc AS p, pg_catalog.pg_namespace AS n
	WHERE p.proname OPERATOR(pg_catalog.=) ANY ('{` +
	strings.Join([]string{auroraStatus, auroraIdentity, auroraGreen, rdsTopology, rdsWriter, rdsIdentity}, ",") + `}'::pg_catalog.name[])
	AND n.oid OPERATOR(pg_catalog.=) p.pronamespace
	AND n.nspname OPERATOR(pg_catalog.=) ANY ('{pg_catalog,rds_tools}'::pg_catalog.name[])
	AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')), ',')`

// auroraInstances has its rows as [Answer.addAurora] wants them, and the server's own
// identifier, or ”, in each.
const auroraInstances = `SELECT server_id, session_id, replica_lag_in_msec, pg_catalog.date_part('epoch', last_update_timestamp), %s
	FROM pg_catalog.aurora_replica_status() LIMIT %d`

// AskPostgres asks a PostgreSQL at a place for its role, and for the other servers where it
// knows them: Aurora, a Multi-AZ DB cluster or a Blue/Green deployment of RDS whose database
// has the extension rds_tools. hosts are further places of the database by its configuration:
// an instance is looked for among them too.
//
// The session is for no client afterwards, since settings of it were changed. Each statement
// ends after a second; what the server refuses or is too slow to say is left out. An error is
// the connection's, or the server will not tell its own role; the answer then holds what was
// learned before it.
func AskPostgres(ctx context.Context, s Session, at Place, hosts ...Place) (Answer, error) {
	var a Answer
	rows, err := s.Query(ctx, beforeAsking, postgresSelf)
	if err != nil {
		return a, fmt.Errorf("ask for the server's role: %w", err)
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return a, fmt.Errorf("ask for the server's role: %d rows, want one of two columns", len(rows))
	}
	switch rows[0][0] {
	case "t":
		a.Self = Reader
	case "f":
		a.Self = Writer
	}
	has := strings.Split(rows[0][1], ",")
	in := append(scope{at}, hosts...)
	if slices.Contains(has, auroraStatus) {
		err = a.askAurora(ctx, s, has, in)
	} else if slices.Contains(has, rdsTopology) {
		err = a.askRDS(ctx, s, has, in)
	}
	if err != nil {
		return a, fmt.Errorf("ask for the topology: %w", err)
	}
	return a, nil
}

func (a *Answer) askAurora(ctx context.Context, s Session, has []string, in scope) error {
	self := "''"
	if slices.Contains(has, auroraIdentity) {
		self = "pg_catalog." + auroraIdentity + "()"
	}
	rows, err := a.optional(s.Query(ctx, fmt.Sprintf(auroraInstances, self, MaxInstances)))
	if err != nil {
		return err
	}
	if len(rows) > 0 && len(rows[0]) == 5 {
		a.setName(rows[0][4])
	}
	a.addAurora(rows, in)
	if !slices.Contains(has, auroraGreen) {
		return nil
	}
	members, err := a.queryMembers(ctx, s, "pg_catalog."+auroraGreen)
	a.addDeployment(members, in)
	return err
}

func (a *Answer) askRDS(ctx context.Context, s Session, has []string, in scope) error {
	members, err := a.queryMembers(ctx, s, "rds_tools."+rdsTopology)
	if err != nil {
		return err
	}
	a.addDeployment(members, in)
	var self, writer string
	if slices.Contains(has, rdsIdentity) && slices.Contains(has, rdsWriter) {
		rows, err := a.optional(s.Query(ctx, "SELECT (SELECT x::pg_catalog.text FROM rds_tools."+rdsIdentity+"() AS x LIMIT 1), "+
			"(SELECT x::pg_catalog.text FROM rds_tools."+rdsWriter+"() AS x LIMIT 1)"))
		if err != nil {
			return err
		}
		if len(rows) == 1 && len(rows[0]) == 2 {
			self, writer = rows[0][0], rows[0][1]
		}
	}
	if writer == "" && a.Self == Writer {
		writer = self // the source of a writer is none
	}
	a.nameMember(members, self)
	a.addCluster(members, writer, in)
	return nil
}

// queryMembers calls a function whose rows are members. The argument is who asks. Columns are
// taken by their names, since each version has others.
func (a *Answer) queryMembers(ctx context.Context, s Session, function string) ([]member, error) {
	rows, err := a.optional(s.Query(ctx, fmt.Sprintf("SELECT pg_catalog.to_jsonb(t) FROM %s('credproxy') AS t LIMIT %d", function, MaxInstances)))
	var members []member
	for _, row := range rows {
		var m member
		if len(row) == 1 && json.Unmarshal([]byte(row[0]), &m) == nil {
			members = append(members, m)
		}
	}
	return members, err
}

// text is a value of JSON that is a string or a number, "" if it is neither.
type text string

// UnmarshalJSON is for encoding/json.
func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = text(s)
		return nil
	}
	var n json.Number
	if json.Unmarshal(b, &n) == nil {
		*t = text(n)
	}
	return nil
}
