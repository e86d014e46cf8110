// A login with the client of openapi-generator.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"example.org/login/countersign"
)

func main() {
	configuration := countersign.NewConfiguration()
	configuration.Servers = countersign.ServerConfigurations{{URL: os.Getenv("COUNTERSIGN_URL")}}
	client := countersign.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), countersign.ContextAccessToken, os.Getenv("COUNTERSIGN_TOKEN"))
	instance := os.Getenv("COUNTERSIGN_INSTANCE")

	request := countersign.NewGenerateLinkRequest()
	request.SetName("Harbour")
	minted, _, err := client.LoginLinksAPI.GenerateLink(ctx, instance).GenerateLinkRequest(*request).Execute()
	check(err)
	link := minted.Data

	form, err := json.Marshal(map[string]string{"from": "447700900123", "text": link.GetText()})
	check(err)
	sent, err := http.Post(os.Getenv("COUNTERSIGN_PHONE")+"/send", "application/json", bytes.NewReader(form))
	check(err)
	defer sent.Body.Close()

	for try := 0; try < 100; try++ {
		shown, _, err := client.RequestsAPI.GetRequest(ctx, instance, link.GetUuid()).Execute()
		check(err)
		if shown.Data.LinkRequest != nil && shown.Data.LinkRequest.GetStatus() == "verified" {
			fmt.Println("verified")
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	log.Fatal("the status never becomes verified")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
