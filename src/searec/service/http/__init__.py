"""The HTTP in front of the service. The app is made by `app.create_app` and run by `server.serve`; importing this loads nothing."""
