package integration_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// largePackets: payloads of 16 MiB and more take many packets, and those of just
// 16 MiB - 1 an empty one after it.
func (s fidelity) largePackets(t *testing.T) {
	for _, x := range []struct {
		size int
		text bool // protocol
	}{{17 * megabyte, true}, {40 * megabyte, false}} {
		c := s.config()
		c.MaxAllowedPacket, c.InterpolateParams = 64*megabyte, x.text
		want := randomBytes(x.size)
		var got []byte
		if err := s.conn(t, c).QueryRowContext(t.Context(), "SELECT ?", want).Scan(&got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("of %d bytes %d others came back (%v)", x.size, len(got), err)
		}
	}
	c := s.config()
	c.MaxAllowedPacket = 64 * megabyte
	conn := s.conn(t, c)
	const full = 1<<24 - 1
	for _, payload := range []int{full, full + 1} {
		const empty = len("\x03SELECT LENGTH('')")
		if n := text(t, conn, "SELECT LENGTH('"+strings.Repeat("\x11", payload-empty)+"')"); n != fmt.Sprint(payload-empty) {
			t.Errorf("of a query of %d bytes %s came", payload, n)
		}
	}
	want := strings.Repeat("\x11", full-4) // a row has 4 bytes of length before it
	if row := text(t, conn, fmt.Sprintf("SELECT REPEAT('\x11', %d)", len(want))); row != want {
		t.Errorf("of a row of 16 MiB - 1 bytes %d came", len(row))
	}
}

// infile is a file of size bytes whose lines look like COM_CHANGE_USER, and what
// the server must say of it.
func infile(size int) (file []byte, count, sum string) {
	var b bytes.Buffer
	var lines, crcs int
	for ; b.Len() < size; lines++ {
		line := append(bytes.Repeat([]byte{comChangeUser}, 1000+lines%97), fmt.Sprint(lines)...)
		crcs += int(crc32.ChecksumIEEE(line))
		b.Write(append(line, '\n'))
	}
	return b.Bytes(), fmt.Sprint(lines), fmt.Sprint(crcs)
}

const infileSize = 20 * megabyte

// localInfile loads from a reader, in pieces whose numbers wrap many times.
func (s fidelity) localInfile(t *testing.T) {
	file, count, sum := infile(infileSize)
	name := t.Name()
	mysql.RegisterReaderHandler(name, func() io.Reader { return bytes.NewReader(file) })
	defer mysql.DeregisterReaderHandler(name)
	conn := s.conn(t, s.config())
	result, err := conn.ExecContext(t.Context(), fmt.Sprintf("LOAD DATA LOCAL INFILE 'Reader::%s' INTO TABLE loaded CHARACTER SET binary", name))
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := result.RowsAffected(); fmt.Sprint(n) != count {
		t.Errorf("%d rows of %s", n, count)
	}
	if got := text(t, conn, "SELECT SUM(CRC32(line)) FROM loaded"); got != sum {
		t.Errorf("sum of the lines %s, want %s", got, sum)
	}
	if _, err := conn.ExecContext(t.Context(), "TRUNCATE loaded"); err != nil {
		t.Fatal(err)
	}
}
