// Command lambdazip prints a zip for Lambda's runtime provided.al2023: a binary as
// the executable bootstrap, and nothing else. The same binary always gives the same zip:
// neither times nor owners nor modes are the file's.
//
//	go run ./lambdazip BINARY > FUNCTION.zip
package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lambdazip:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: lambdazip BINARY")
	}
	binary, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)} // as early as a zip can say
	header.SetMode(0o755)
	archive := zip.NewWriter(out)
	entry, err := archive.CreateHeader(header)
	if err != nil {
		return err
	}
	if _, err := entry.Write(binary); err != nil {
		return err
	}
	return archive.Close()
}
