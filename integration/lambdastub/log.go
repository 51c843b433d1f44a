package lambdastub

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// log is a file without a name to which the processes write themselves, so that nothing they wrote is still on its way
// when somebody reads.
type log struct {
	mu   sync.Mutex
	file *os.File // nil once closed
	text string   // then, the end of it
}

// mostLog is how much of the log's end is read, in bytes.
const mostLog = 1 << 20

func newLog() (*log, error) {
	f, err := os.CreateTemp("", "lambdastub")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &log{file: f}, nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.text = end(l.file)
	}
	return l.text
}

// end reads past the offset that the processes write at, and leaves it alone.
func end(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return fmt.Sprintf("(the log cannot be read: %v)", err)
	}
	from := max(0, info.Size()-mostLog)
	text, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil {
		return fmt.Sprintf("%s(the log cannot be read: %v)", text, err)
	}
	return string(text)
}

// close keeps the end of the log and gives the file back.
func (l *log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	l.text = end(l.file)
	_ = l.file.Close()
	l.file = nil
}
