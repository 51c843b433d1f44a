package store

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestIsReplicaOfCluster has RDS know one cluster, with a reader's endpoint and one of
// somebody's own.
func TestIsReplicaOfCluster(t *testing.T) {
	const writer, reader, own = "main.cluster-abc.eu-west-1.rds.amazonaws.com", "main.cluster-ro-abc.eu-west-1.rds.amazonaws.com", "reports.cluster-custom-abc.eu-west-1.rds.amazonaws.com"
	rds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("DBClusterIdentifier") != "main" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<ErrorResponse><Error><Code>DBClusterNotFoundFault</Code></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, `<DescribeDBClustersResponse><DescribeDBClustersResult><DBClusters><DBCluster><Endpoint>%s</Endpoint><ReaderEndpoint>%s</ReaderEndpoint>
			<CustomEndpoints><member>%s</member></CustomEndpoints></DBCluster></DBClusters></DescribeDBClustersResult></DescribeDBClustersResponse>`, writer, reader, own)
	}))
	defer rds.Close()
	for name, value := range map[string]string{"AWS_ENDPOINT_URL_RDS": rds.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"} {
		t.Setenv(name, value)
	}
	s, err := New(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host, primary string
		want, fails   bool
	}{
		{reader, writer, true, false}, {own, writer, true, false}, {"other" + own, writer, false, false}, {reader, own, false, false},
		{own, "else." + writer, false, true},
	} {
		got, err := s.IsReplica(t.Context(), tt.host, tt.primary)
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%s of %s: %t, %v", tt.host, tt.primary, got, err)
		}
	}
}
