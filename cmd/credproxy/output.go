package main

import (
	"encoding/json"
)

func indented(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // strings, lists and maps of them always encode
	}
	return string(text) + "\n"
}
