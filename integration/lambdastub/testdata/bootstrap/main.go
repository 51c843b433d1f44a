// Command bootstrap is a function for the test: the event says what becomes of it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	base := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/"
	if os.Getenv("BROKEN") != "" {
		post(base+"init/error", `{"errorType":"Runtime.Init","errorMessage":"as asked"}`)
		os.Exit(1)
	}
	for {
		resp, err := http.Get(base + "invocation/next")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		body, _ := io.ReadAll(resp.Body)
		h := resp.Header
		var event struct{ Do string }
		_ = json.Unmarshal(body, &event)
		fmt.Println("event", event.Do)
		invocation := base + "invocation/" + h.Get("Lambda-Runtime-Aws-Request-Id")
		switch event.Do {
		case "fail":
			post(invocation+"/error", `{"errorType":"Refused","errorMessage":"as asked"}`)
		case "exit":
			os.Exit(3)
		case "hang":
			select {}
		case "last":
			post(invocation+"/response", `"bye"`)
			os.Exit(0)
		case "wrong":
			post(invocation+"/response", fmt.Sprint(post(base+"invocation/other/response", "")))
		default:
			answer, _ := json.Marshal([]string{string(body), h.Get("Lambda-Runtime-Deadline-Ms"), h.Get("Lambda-Runtime-Invoked-Function-Arn"), os.Getenv("GIVEN"), os.Getenv("HOME")})
			post(invocation+"/response", string(answer))
		}
	}
}

func post(url, body string) int {
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
