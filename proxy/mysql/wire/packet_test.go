package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

// TestLongPacketTakesMemoryAsItComes reads packets of which no more than the header
// comes: anybody who reaches the port can send that.
func TestLongPacketTakesMemoryAsItComes(t *testing.T) {
	const packets = 64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range packets {
		c := &PacketConn{R: bufio.NewReader(strings.NewReader("\x00\x00\x02\x00"))}
		if _, err := c.ReadPacket(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("error %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / packets; each > 64<<10 {
		t.Errorf("%d bytes allocated for a header that announces %d", each, MaxLoginPacket)
	}
	whole := bytes.Repeat([]byte("x"), MaxLoginPacket)
	c := &PacketConn{R: bufio.NewReader(io.MultiReader(strings.NewReader("\x00\x00\x02\x00"), bytes.NewReader(whole), strings.NewReader("\x01\x00\x00\x01y")))}
	if got, err := c.ReadPacket(); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if got, err := c.ReadPacket(); err != nil || string(got) != "y" {
		t.Errorf("after it %q, error %v", got, err)
	}
}
