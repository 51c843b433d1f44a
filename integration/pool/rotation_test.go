package pool_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// heard is the line of a database that hears of rotations, and looks for them once an hour
// else.
const heard = "rotation: {events: {sqs_queue_url: https://sqs.eu-west-1.amazonaws.com/" + awsstub.AccountID + "/" + queueName + "}}"

// rotating is a stand whose secret's users are rotated.
type rotating struct {
	*stand
	who         func(context.Context) (user string, err error) // connects, asks and leaves
	setPassword func(ctx context.Context, user, password string) error
	secret      func(user, password string) string
}

// rotations is how many each case makes, an even number.
func rotations() int64 {
	if soak() {
		return 20
	}
	return 6
}

// TestRotationUnderLoad rotates again and again, the password of one user or two users in turn, while
// clients come and go, all of them on sessions of others if they can: none fails, and once
// credproxy has heard of the move new clients are the user that AWSCURRENT names.
func TestRotationUnderLoad(t *testing.T) {
	stands := map[string]func(t *testing.T) rotating{"postgres": rotatingPostgres}
	for _, flavor := range servers.MySQLFlavors() {
		stands[flavor] = func(t *testing.T) rotating { return rotatingMySQL(t, flavor) }
	}
	for engine, run := range stands {
		t.Run(engine, func(t *testing.T) {
			r := run(t)
			t.Run("alternating users", func(t *testing.T) { r.underLoad(t, []string{"app", "app_clone"}) })
			t.Run("single user", func(t *testing.T) { r.underLoad(t, []string{"app", "app"}) })
		})
	}
}

// underLoad rotates the users, of whom the first has the secret at the beginning and the end.
func (r rotating) underLoad(t *testing.T, users []string) {
	first := r.moves(t)
	reusedBefore, retiredBefore := r.metric(t, "reused_total"), r.metric(t, "closed_total", `reason="retired"`)
	var moves, served atomic.Int64 // moves that credproxy has heard of
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				seen := moves.Load()
				user, err := r.who(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if user != users[seen%2] && r.moves(t) == first+seen {
					t.Errorf("after %d moves the user is %s", seen, user)
				}
				served.Add(1)
			}
		})
	}
	var longest time.Duration
	for n := int64(1); n <= rotations() && !t.Failed(); n++ {
		user, password := users[n%2], fmt.Sprintf("%s-%d-%d", appPassword, len(users[1]), n)
		must(t, r.setPassword(t.Context(), user, password))
		r.aws.PutSecret(secretName, r.secret(user, password))
		began := time.Now()
		sidecar.Await(t, "move", func() bool { return r.moves(t) == first+n })
		longest = max(longest, time.Since(began))
		moves.Store(n)
		was := served.Load()
		sidecar.Await(t, "clients", func() bool { return served.Load() > was+20 || t.Failed() })
	}
	stop()
	clients.Wait()
	reused, retired := r.metric(t, "reused_total")-reusedBefore, r.metric(t, "closed_total", `reason="retired"`)-retiredBefore
	t.Logf("%d clients, %d of them on sessions of others, %d of which were retired; a move was taken up in %v at most", served.Load(), reused, retired, longest)
	if reused == 0 || retired == 0 {
		t.Error("no session was used again, or none retired")
	}
}

// moves is how many rotations credproxy has heard of.
func (s *stand) moves(t *testing.T) int64 {
	n, err := s.proxy.Metric("credproxy_credential_rotations_total")
	must(t, err)
	return int64(n)
}

func rotatingPostgres(t *testing.T) rotating {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	for _, user := range []string{"app", "app_clone"} {
		must(t, pg.CreateRole(t.Context(), user, appPassword))
	}
	s := postgresStand(t, pg, "pool: {mode: session, max_idle: 5}", heard)
	return rotating{
		stand: s,
		who: func(ctx context.Context) (user string, err error) {
			conn, err := pgx.Connect(ctx, "postgres://anybody@"+s.addr+"/postgres?sslmode=disable")
			if err != nil {
				return "", err
			}
			defer conn.Close(ctx)
			err = conn.QueryRow(ctx, "SELECT current_user").Scan(&user)
			return user, err
		},
		setPassword: pg.SetPassword,
		secret:      func(user, password string) string { return secret(pg, user, password) },
	}
}

func rotatingMySQL(t *testing.T, flavor string) rotating {
	my := runMySQL(t, flavor)
	must(t, my.CreateUser(t.Context(), "app_clone", appPassword, "", "ALL ON *.*"))
	s := mySQLStand(t, my, "pool: {mode: session, max_idle: 5}", heard)
	return rotating{
		stand: &s.stand,
		who: func(ctx context.Context) (user string, err error) {
			c := mysql.NewConfig()
			c.User, c.Net, c.Addr = "anybody", "tcp", s.addr
			connector, err := mysql.NewConnector(c)
			if err != nil {
				return "", err
			}
			db := sql.OpenDB(connector)
			defer db.Close()
			err = db.QueryRowContext(ctx, "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)").Scan(&user)
			return user, err
		},
		setPassword: my.SetPassword,
		secret:      func(user, password string) string { return mySQLSecret(my, user, password) },
	}
}
