package topology

import (
	"context"
	"fmt"
)

// RolePostgres asks a server of PostgreSQL what it is; id is the moment of its start.
// The session is for no client afterwards, since settings of it were changed.
func RolePostgres(ctx context.Context, s Session) (role Role, id string, err error) {
	rows, err := s.Query(ctx, beforeAsking, "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_postmaster_start_time()")
	if err != nil {
		return Unknown, "", err
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return Unknown, "", fmt.Errorf("the database answers the question for its role with %d rows", len(rows))
	}
	if rows[0][0] == "f" {
		return Writer, rows[0][1], nil
	}
	return Reader, rows[0][1], nil
}
