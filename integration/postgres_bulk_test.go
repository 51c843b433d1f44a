package integration_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/servers"
)

const megabyte = 1 << 20

// copyRows is size bytes of rows for COPY: a number, and text that does not
// compress. It is not kept in memory.
func copyRows(t *testing.T, size int) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { _ = r.Close() })
	go func() {
		random := rand.New(rand.NewPCG(1, 2))
		out := bufio.NewWriterSize(w, 64<<10)
		var err error
		for written, id := 0, 0; written < size && err == nil; id++ {
			row := strconv.AppendInt(nil, int64(id), 10)
			row = append(row, '\t')
			for range 60 {
				row = strconv.AppendUint(row, random.Uint64(), 36)
			}
			row = append(row, '\n')
			written += len(row)
			_, err = out.Write(row)
		}
		_ = w.CloseWithError(errors.Join(err, out.Flush()))
	}()
	return r
}

func sum(h hash.Hash) string { return fmt.Sprintf("%x", h.Sum(nil)) }

// What is large, and what comes unasked.
func TestPostgresBulk(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		t.Run("copy", func(t *testing.T) { bulkCopy(t, s) })
		t.Run("psql", func(t *testing.T) { bulkPsql(t, s) })
		t.Run("long row", func(t *testing.T) { longRow(t, s) })
		t.Run("large object", func(t *testing.T) { largeObject(t, s) })
		t.Run("notify", func(t *testing.T) { notify(t, s) })
	})
}

// bulkCopy copies 100 MB in, and the same bytes out again.
func bulkCopy(t *testing.T, s *pgStand) {
	conn := pgConnect(t, s.conninfo("sslmode=disable")).PgConn()
	ctx := t.Context()
	// A scan must start at the table's begin for its order to be that of the COPY.
	if _, err := conn.Exec(ctx, "SET synchronize_seqscans = off; CREATE UNLOGGED TABLE bulk (id int, data text)").ReadAll(); err != nil {
		t.Fatal(err)
	}
	in, out := sha256.New(), sha256.New()
	if _, err := conn.CopyFrom(ctx, io.TeeReader(copyRows(t, 100*megabyte), in), "COPY bulk FROM STDIN"); err != nil {
		t.Fatal(err)
	}
	tag, err := conn.CopyTo(ctx, out, "COPY bulk TO STDOUT")
	if err != nil {
		t.Fatal(err)
	}
	if sum(in) != sum(out) || tag.RowsAffected() < 100_000 {
		t.Errorf("%d rows came back, as %s instead of %s", tag.RowsAffected(), sum(out), sum(in))
	}
	copyFails(t, conn)
	relayed, err := s.proxy.Metric("credproxy_relay_bytes_total")
	if err != nil || relayed < 200*megabyte {
		t.Errorf("relayed bytes: %v, %v", relayed, err)
	}
}

// copyFails shows that a COPY that either side breaks off leaves the session
// usable.
func copyFails(t *testing.T, conn *pgconn.PgConn) {
	t.Helper()
	ctx := t.Context()
	broken := errors.New("the client has no more")
	_, err := conn.CopyFrom(ctx, io.MultiReader(strings.NewReader("1\tx\n"), iotest.ErrReader(broken)), "COPY bulk FROM STDIN")
	if !hasCode(err, "57014") { // CopyFail
		t.Errorf("the client broke off: %v", err)
	}
	_, err = conn.CopyFrom(ctx, io.MultiReader(strings.NewReader("no number\tx\n"), copyRows(t, megabyte)), "COPY bulk FROM STDIN")
	if !hasCode(err, "22P02") {
		t.Errorf("the server broke off: %v", err)
	}
	if _, err := conn.Exec(ctx, "SELECT 1").ReadAll(); err != nil {
		t.Error(err)
	}
}

// hasCode reports whether err is an error of the server with this SQLSTATE.
func hasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}

// bulkPsql is psql's \copy, both ways.
func bulkPsql(t *testing.T, s *pgStand) {
	for _, client := range servers.PostgresVersions() {
		in, out := sha256.New(), sha256.New()
		table := fmt.Sprintf("bulk%d", client)
		psql(t, client, s.conninfo(), "CREATE TABLE "+table+" (id int, data text)")
		cmd := psqlCommand(t, client, s.conninfo())
		cmd.Args = append(cmd.Args, "-c", `\copy `+table+` from pstdin`)
		cmd.Stdin = io.TeeReader(copyRows(t, 10*megabyte), in)
		output(t, cmd)
		cmd = psqlCommand(t, client, s.conninfo())
		cmd.Args = append(cmd.Args, "-c", `\copy (SELECT * FROM `+table+` ORDER BY id) to pstdout`)
		cmd.Stdout = out
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if sum(in) != sum(out) {
			t.Errorf("psql %d: %s in, %s out", client, sum(in), sum(out))
		}
	}
}

// longRow is one row of 20 MB, as a parameter and as a result.
func longRow(t *testing.T, s *pgStand) {
	conn := pgConnect(t, s.conninfo("sslmode=disable"))
	sent := randomBytes(20 * megabyte)
	var got, digest []byte
	if err := conn.QueryRow(t.Context(), "SELECT $1::bytea, sha256($1::bytea)", sent).Scan(&got, &digest); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(sent); !bytes.Equal(got, sent) || !bytes.Equal(digest, want[:]) {
		t.Error("the row is not what was sent")
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b) // never fails
	return b
}

// largeObject writes and reads 8 MB by the functions of large objects.
func largeObject(t *testing.T, s *pgStand) {
	tx, err := pgConnect(t, s.conninfo("sslmode=disable")).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	objects := tx.LargeObjects()
	oid, err := objects.Create(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	object, err := objects.Open(t.Context(), oid, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
	if err != nil {
		t.Fatal(err)
	}
	sent := randomBytes(8*megabyte + 123)
	if _, err := object.Write(sent); err != nil {
		t.Fatal(err)
	}
	if _, err := object.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(object)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

// notify shows that notifications reach a session that is doing nothing, in order.
func notify(t *testing.T, s *pgStand) {
	ears, mouth := pgConnect(t, s.conninfo("sslmode=disable")), pgConnect(t, s.conninfo("sslmode=disable"))
	if _, err := ears.Exec(t.Context(), `LISTEN "Kanal ☃"`); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		payload := fmt.Sprint(i, strings.Repeat("☃", 2000))
		if _, err := mouth.Exec(t.Context(), "SELECT pg_notify('Kanal ☃', $1)", payload); err != nil {
			t.Fatal(err)
		}
		got, err := ears.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Payload != payload || got.Channel != "Kanal ☃" || got.PID != mouth.PgConn().PID() {
			t.Fatalf("notification %d: channel %s, pid %d, %d bytes", i, got.Channel, got.PID, len(got.Payload))
		}
	}
}
